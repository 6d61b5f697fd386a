//! The `rtrace` command: hands argv to the library and exits with its code.

use std::ffi::OsString;

fn main() {
    let argv: Vec<OsString> = std::env::args_os().collect();
    std::process::exit(rtrace::cli::main(&argv));
}
