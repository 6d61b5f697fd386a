//! Texts that are nearly scripts: valid ones with tokens removed, doubled, swapped, and with
//! bytes changed.

use super::rng::Rng;

/// `text` with some damage.
pub fn damaged(text: &str, rng: &mut Rng) -> String {
    let mut tokens = tokens(text);
    for _ in 0..rng.between(1, 4) {
        let n = tokens.len();
        if n < 2 {
            break;
        }
        let (i, j) = (rng.below(n), rng.below(n));
        match rng.below(6) {
            0 => {
                tokens.remove(i);
            }
            1 => {
                let doubled = tokens[i].clone();
                tokens.insert(i, doubled);
            }
            2 => tokens.swap(i, j),
            3 => tokens[i] = tokens[j].clone(),
            4 => {
                let end = (i + rng.between(1, 12)).min(n);
                tokens.drain(i..end);
            }
            _ => {
                let mut bytes = tokens[i].clone().into_bytes();
                let at = rng.below(bytes.len().max(1));
                if let Some(b) = bytes.get_mut(at) {
                    *b = rng.between(1, 127) as u8;
                }
                tokens[i] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }
    tokens.concat()
}

/// Words, numbers, blanks, and single characters of anything else.
fn tokens(text: &str) -> Vec<String> {
    let class = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '$' | '@' => 1,
        ' ' | '\n' => 2,
        _ => 0,
    };
    let mut out: Vec<String> = Vec::new();
    let mut last = 0;
    for c in text.chars() {
        let now = class(c);
        match out.last_mut() {
            Some(word) if now == last && now != 0 => word.push(c),
            _ => out.push(c.to_string()),
        }
        last = now;
    }
    out
}
