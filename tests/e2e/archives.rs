//! Libraries that are run right out of the archive they lie in.

use std::process::Command;

use crate::kernel;
use crate::support::{fixture, have, rtrace, scratch, value};

/// An archive with one member that is not compressed and begins at a page: its bytes, and where
/// the member begins.
fn archive(name: &str, data: &[u8], method: u16) -> (Vec<u8>, usize) {
    const PAGE: usize = 4096;
    const LOCAL: usize = 30;
    let padding = PAGE - LOCAL - name.len();
    let words = |all: &[u16]| all.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
    let size = (data.len() as u32).to_le_bytes();
    let length = name.len() as u16;
    let directory = (PAGE + data.len()) as u32;
    let mut out = [
        b"PK\x03\x04".to_vec(),
        words(&[10, 0, method, 0, 0, 0, 0]),
        [size, size].concat(),
        words(&[length, padding as u16]),
        name.as_bytes().to_vec(),
        vec![0; padding],
        data.to_vec(),
        b"PK\x01\x02".to_vec(),
        words(&[10, 10, 0, method, 0, 0, 0, 0]),
        [size, size].concat(),
        words(&[length, 0, 0, 0, 0, 0, 0, 0, 0]),
        name.as_bytes().to_vec(),
    ]
    .concat();
    let end = out.len() as u32 - directory;
    out.extend(b"PK\x05\x06");
    out.extend(words(&[0, 0, 1, 1]));
    out.extend([end.to_le_bytes(), directory.to_le_bytes()].concat());
    out.extend(words(&[0]));
    (out, PAGE)
}

#[test]
fn functions_of_a_library_in_an_archive() {
    if !kernel::usable("libraries in archives") || !have("nm", "libraries in archives") {
        return;
    }
    // One segment from the start, so that it can be mapped in one piece.
    let flags = "-DLIBRARY -O1 -shared -fPIC -nostdlib -Wl,-z,noseparate-code";
    let flags: Vec<&str> = flags.split(' ').collect();
    let (Some(library), Some(program)) = (
        fixture("packed.c", "libpacked.so", &flags),
        fixture("packed.c", "packed", &["-O1"]),
    ) else {
        return;
    };
    let symbols = Command::new("nm").arg(&library).output().unwrap().stdout;
    let symbols = String::from_utf8(symbols).unwrap();
    let inner = symbols.lines().find(|l| l.ends_with(" T inner")).unwrap();
    let address = &inner[..16];

    let path = scratch("app.apk").display().to_string();
    let data = std::fs::read(&library).unwrap();
    let (bytes, start) = archive("lib/x86_64/libpacked.so", &data, 0);
    std::fs::write(&path, bytes).unwrap();
    let target = format!("{path}!/lib/x86_64/libpacked.so");
    let script = format!(
        "uprobe:{target}:inner {{ @calls = count(); @sum = sum(arg0); @[probe] = count(); }} \
         uretprobe:{target}:inner {{ @results = sum(retval); }} \
         uprobe:{target}:inn* {{ @wild = count(); }} \
         uprobe:{target}:0x{address} {{ @at = count(); }}"
    );
    let command = format!("{program} {path} {start} {address} 20");
    let out = rtrace(&["-c", &command, "-e", &script]).ok();
    assert!(out.starts_with("sum 570\n"), "{out}");
    for map in ["@calls", "@wild", "@at"] {
        assert_eq!(value(&out, map), "20");
    }
    assert_eq!(value(&out, "@sum"), "190");
    assert_eq!(value(&out, "@results"), "570");
    assert_eq!(value(&out, &format!("@[uprobe:{target}:inner]")), "20");
    let listed = rtrace(&["-l", &format!("uprobe:{target}:in*")]).ok();
    assert_eq!(listed, format!("uprobe:{target}:inner\n"));
}

#[test]
fn what_an_archive_does_not_have_is_said() {
    let path = scratch("other.apk").display().to_string();
    std::fs::write(&path, archive("lib/a.so", b"squeezed", 8).0).unwrap();
    for (member, why) in [
        ("lib/a.so", "lib/a.so is compressed"),
        ("lib/b.so", "the archive has no lib/b.so"),
    ] {
        let run = rtrace(&["-e", &format!("uprobe:{path}!/{member}:f {{ }}")]);
        assert_eq!(run.code, Some(1), "{run:#?}");
        assert!(run.err.contains(why), "{}", run.err);
    }
}
