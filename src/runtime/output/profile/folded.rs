//! Folded stacks: a line for each, `root;...;leaf weight`, as flame graph tools read them.
//!
//! In names, what the format gives a meaning (`;`, line ends) is replaced. Code of the kernel ends
//! in `_[k]` and inlined code in `_[i]`, which those tools colour by.

use std::io::{BufRead, Write};

use super::{Frame, Kind, Profile};

const KERNEL: &str = "_[k]";
const INLINED: &str = "_[i]";
/// Generated code, by tools that tell it apart.
const GENERATED: &str = "_[j]";

/// Writes a profile.
///
/// # Errors
/// The output cannot be written.
pub fn write(profile: &Profile, out: &mut impl Write) -> std::io::Result<()> {
    let names: Vec<String> = profile.frames().iter().map(spelling).collect();
    let mut lines: Vec<(String, u64)> = profile
        .samples()
        .map(|(stack, weight)| {
            let parts: Vec<&str> = stack.iter().map(|&f| &*names[f as usize]).collect();
            (parts.join(";"), weight)
        })
        .collect();
    lines.sort();
    // Frames that differ in their module only are spelt alike.
    for same in lines.chunk_by(|a, b| a.0 == b.0) {
        let weight = same.iter().fold(0u64, |sum, l| sum.saturating_add(l.1));
        writeln!(out, "{} {weight}", same[0].0)?;
    }
    Ok(())
}

fn spelling(frame: &Frame) -> String {
    let mut name: String = frame
        .name
        .chars()
        .map(|c| match c {
            ';' => ':',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    name.push_str(match frame.kind {
        Kind::Kernel => KERNEL,
        Kind::Inlined => INLINED,
        Kind::Label | Kind::User => "",
    });
    name
}

/// Reads folded stacks, of rtrace or another tool. The number of lines that are none.
///
/// # Errors
/// The input cannot be read.
pub fn read(input: impl BufRead, profile: &mut Profile) -> std::io::Result<usize> {
    let mut skipped = 0;
    for line in input.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line
            .rsplit_once(' ')
            .and_then(|(stack, weight)| Some((stack, weight.parse::<f64>().ok()?)))
            .filter(|(_, weight)| weight.is_finite() && *weight >= 0.0);
        let Some((stack, weight)) = parsed else {
            skipped += 1;
            continue;
        };
        let stack = stack
            .split(';')
            .map(|name| profile.frame(frame(name)))
            .collect();
        profile.add(stack, weight.round() as u64);
    }
    Ok(skipped)
}

fn frame(text: &str) -> Frame {
    let (name, kind) = [
        (KERNEL, Kind::Kernel),
        (INLINED, Kind::Inlined),
        (GENERATED, Kind::User),
    ]
    .iter()
    .find_map(|(mark, kind)| Some((text.strip_suffix(mark)?, *kind)))
    .unwrap_or((text, Kind::User));
    Frame {
        name: name.to_owned(),
        module: String::new(),
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::*;

    fn text(p: &Profile) -> String {
        let mut out = Vec::new();
        write(p, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_sorted_and_escaped() {
        let mut p = profile(&[("@node;main;read!", 2), ("main;f?", 1)]);
        let odd = p.frame(Frame {
            name: "LazyCompile:~a;b\nc".to_owned(),
            module: String::new(),
            kind: Kind::User,
        });
        p.add(vec![odd], 7);
        assert_eq!(
            text(&p),
            "@node;main;read_[k] 2\nLazyCompile:~a:b c 7\nmain;f_[i] 1\n"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let p = profile(&[("main;operator new(unsigned long);x!", 2), ("main;f?;g", 1)]);
        let mut back = Profile::default();
        assert_eq!(read(text(&p).as_bytes(), &mut back).unwrap(), 0);
        assert_eq!(text(&back), text(&p));
        let mut other = Profile::default();
        let lines = "# comment\n\na;b 1.6\nno number\nc -1\nd NaN\n";
        assert_eq!(read(lines.as_bytes(), &mut other).unwrap(), 3);
        assert_eq!(text(&other), "a;b 2\n");
    }
}
