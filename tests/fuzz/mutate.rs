//! Small changes to an input: bytes, numbers, pieces moved, repeated and mixed.

/// Pseudo-random numbers (splitmix64): the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Inputs grow no further.
pub const MOST: usize = 64 << 10;

/// Numbers at which arithmetic goes wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A changed copy of one of `seeds`.
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(6) {
        change(&mut input, seeds, random);
    }
    input.truncate(MOST);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(10) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => input.insert(at, random.next() as u8),
        3 => {
            // A number of two to eight bytes.
            let width = 2 << random.below(3);
            let number = match random.below(3) {
                0 => random.next(),
                1 => input.len() as u64,
                _ => NUMBERS[random.below(NUMBERS.len())].wrapping_add(random.below(3) as u64),
            };
            let at = at / width * width;
            if let Some(place) = input.get_mut(at..at + width) {
                place.copy_from_slice(&number.to_le_bytes()[..width]);
            }
        }
        4 => {
            let end = (at + 1 + random.below(32)).min(input.len());
            input.drain(at..end);
        }
        5 => {
            // A piece, repeated: what is quadratic or nests shows here.
            let end = (at + 1 + random.below(24)).min(input.len());
            let piece = input[at..end].to_vec();
            let times = match random.below(8) {
                0 => 1 + random.below(MOST / 24),
                _ => 1 + random.below(20),
            };
            let many = piece.repeat(times.min(MOST / piece.len().max(1)));
            input.splice(at..at, many);
        }
        6 => {
            // A piece of another input.
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let to = (from + 1 + random.below(64)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        7 => {
            // The rest of another one.
            let other = &seeds[random.below(seeds.len())];
            input.truncate(at);
            input.extend_from_slice(&other[at.min(other.len())..]);
        }
        8 => {
            // Another number in text.
            if let Some(i) = input[at..].iter().position(u8::is_ascii_digit) {
                let number = NUMBERS[random.below(NUMBERS.len())].to_string();
                input.splice(at + i..at + i + 1, number.into_bytes());
            }
        }
        _ => {
            let end = (at + 8).min(input.len());
            let fill = [0, 0xff, b' ', b'('][random.below(4)];
            input[at..end].fill(fill);
        }
    }
}
