//! The program `adit`.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(adit::run(std::env::args_os(), |_| ()).code())
}
