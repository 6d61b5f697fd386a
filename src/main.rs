//! The `rtrace` command: hands argv to the library and exits with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
