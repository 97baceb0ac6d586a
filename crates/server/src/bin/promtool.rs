//! The binary `promtool`: the tools under the name that scripts expect.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    server::promtool(&args)
}
