//! Reading the kernel verifier's log: which instruction was refused, and why.
//!
//! In goes the log of a failed load and the program; out comes a sentence with the place in the
//! script. Nothing here talks to the kernel.

use crate::object::{Loc, Object, Program};

/// What the verifier said about the instruction at which it stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The instruction (slot index), if the log names one.
    pub insn: Option<u32>,
    /// The instruction as the verifier prints it.
    pub text: String,
    /// The complaint: the lines after the instruction, joined by `; `.
    pub complaint: String,
}

/// Reads the end of a log.
pub fn read(log: &str) -> Verdict {
    let mut verdict = Verdict {
        insn: None,
        text: String::new(),
        complaint: String::new(),
    };
    for line in log.lines() {
        let line = line.trim();
        if let Some((insn, text)) = instruction(line) {
            verdict.insn = Some(insn);
            text.clone_into(&mut verdict.text);
            verdict.complaint.clear();
        } else if is_complaint(line) {
            if !verdict.complaint.is_empty() {
                verdict.complaint.push_str("; ");
            }
            verdict.complaint.push_str(line);
        }
    }
    verdict
}

/// Parses `12: (79) r1 = *(u64 *)(r1 +0)` and cuts the register state that may follow.
fn instruction(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.split_once(": (")?;
    let insn = number.parse().ok()?;
    let (opcode, text) = rest.split_once(')')?;
    u8::from_str_radix(opcode, 16).ok()?;
    Some((insn, text.split(" ; ").next()?.trim()))
}

fn is_complaint(line: &str) -> bool {
    let noise = [
        "processed ",
        "from ",
        ";",
        "verification time",
        "stack depth",
    ];
    // `5: R0=...` and `R0=... R1=...` are register states.
    let state = |l: &str| {
        let l = l.split_once(": ").map_or(l, |(n, rest)| {
            if n.bytes().all(|b| b.is_ascii_digit()) {
                rest
            } else {
                l
            }
        });
        l.starts_with('R') && l.split(' ').next().is_some_and(|w| w.contains('='))
    };
    !line.is_empty() && !noise.iter().any(|n| line.starts_with(n)) && !state(line)
}

/// The place in the script that instruction `insn` was compiled from.
pub fn place(program: &Program, insn: u32) -> Option<Loc> {
    let after = program.lines.partition_point(|l| l.insn <= insn);
    Some(program.lines.get(after.checked_sub(1)?)?.loc)
}

/// `file:line:column` and below it the line itself.
pub fn quote(object: &Object, loc: Loc) -> Option<(String, String)> {
    let (name, text) = object.sources.get(loc.file as usize)?;
    let line = text.lines().nth(loc.line.checked_sub(1)? as usize)?;
    Some((
        format!("{name}:{}:{}", loc.line, loc.col),
        line.trim_end().to_owned(),
    ))
}

/// The message for a rejected program: what was said, about which line, and what to send us.
pub fn explain(object: &Object, program: &Program, log: &str) -> String {
    let verdict = read(log);
    let mut out = format!("the kernel's verifier rejected {}", program.name);
    if !verdict.complaint.is_empty() {
        out.push_str(": ");
        out.push_str(&verdict.complaint);
    }
    if let Some(insn) = verdict.insn {
        let place = place(program, insn).and_then(|loc| quote(object, loc));
        if let Some((at, line)) = place {
            out.push_str(&format!("\n  at {at}: {}", line.trim()));
        }
        out.push_str(&format!("\n  at instruction {insn}: {}", verdict.text));
    }
    out.push_str(remedy(&verdict.complaint));
    out
}

/// What to do about a complaint. Most are our own fault.
fn remedy(complaint: &str) -> &'static str {
    const TABLE: [(&str, &str); 7] = [
        (
            "GPL",
            "\n  the script's `license` must be compatible with the GPL for this function",
        ),
        (
            "unknown func",
            "\n  this kernel lacks a function that the script needs",
        ),
        (
            "invalid func",
            "\n  this kernel lacks a function that the script needs",
        ),
        (
            "helper call is not allowed in probe",
            "\n  the kernel allows path() in `iter` probes, and in fentry and fexit of a few functions \
             only: security_file_open, security_inode_getattr, vfs_truncate, vfs_fallocate, vfs_getattr, \
             dentry_open, filp_close",
        ),
        (
            "cannot use helper",
            "\n  this kernel does not allow a function that the script needs to such probes; a locked \
             down kernel forbids some of them",
        ),
        (
            "too large",
            "\n  the probe is too complex for the verifier: split it or unroll less",
        ),
        (
            "too complex",
            "\n  the probe is too complex for the verifier: split it or unroll less",
        ),
    ];
    TABLE
        .iter()
        .find(|(part, _)| complaint.contains(part))
        .map_or(
            "\n  this is a bug in rtrace: please report it with the output of -v -d bpf",
            |(_, text)| text,
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{LineInfo, ProgramType};

    #[test]
    fn refusals_of_the_kernel_are_no_bugs_of_ours() {
        for complaint in [
            "cannot call GPL-restricted function from non-GPL compatible program",
            "unknown func bpf_get_branch_snapshot#176",
            "program of this type cannot use helper bpf_probe_write_user#36",
            "BPF program is too large. Processed 1000001 insn",
        ] {
            assert!(!remedy(complaint).contains("bug"), "{complaint}");
        }
        assert!(remedy("R2 invalid mem access 'scalar'").contains("bug"));
    }

    const LOG: &str = "\
func#0 @0
0: R1=ctx() R10=fp0
; $x = *$p @ t.bt:2
0: (b7) r2 = 0                        ; R2_w=0
1: (79) r0 = *(u64 *)(r2 +0)
R2 invalid mem access 'scalar'
second sentence
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0
";

    fn program() -> Program {
        let loc = |line| Loc {
            line,
            col: 3,
            end_line: line,
            end_col: 9,
            ..Loc::default()
        };
        let line = |insn, l| LineInfo {
            insn,
            file_off: 0,
            line_off: 0,
            loc: loc(l),
        };
        Program {
            name: "begin_1".into(),
            ty: ProgramType::RawTracepoint,
            insns: Vec::new(),
            relocs: Vec::new(),
            funcs: Vec::new(),
            lines: vec![line(0, 1), line(1, 2), line(5, 3)],
            attach_btf: None,
            emits: None,
        }
    }

    #[test]
    fn the_last_instruction_and_what_follows_it() {
        let v = read(LOG);
        assert_eq!(v.insn, Some(1));
        assert_eq!(v.text, "r0 = *(u64 *)(r2 +0)");
        assert_eq!(
            v.complaint,
            "R2 invalid mem access 'scalar'; second sentence"
        );
    }

    #[test]
    fn an_instruction_belongs_to_the_line_before_it() {
        let p = program();
        assert_eq!(place(&p, 4).unwrap().line, 2);
        assert_eq!(place(&p, 5).unwrap().line, 3);
        assert_eq!(place(&Program { lines: vec![], ..p }, 5), None);
    }

    #[test]
    fn the_message_shows_the_script() {
        let object = Object {
            sources: vec![("t.bt".into(), "BEGIN {\n  $x = *$p;\n}".into())],
            ..Object::default()
        };
        let text = explain(&object, &program(), LOG);
        assert!(text.starts_with("the kernel's verifier rejected begin_1: R2 invalid"));
        assert!(text.contains("at t.bt:2:3: $x = *$p;"), "{text}");
        assert!(text.contains("instruction 1: r0 = "), "{text}");
        assert!(text.contains("bug in rtrace"), "{text}");
    }

    #[test]
    fn a_log_without_instructions_still_says_why() {
        let v = read("BPF program is too large. Processed 1000001 insn\nprocessed 1 insns\n");
        assert_eq!(v.insn, None);
        assert!(v.complaint.contains("too large"));
    }
}
