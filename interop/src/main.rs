//! `interop list`, `interop run`: see the library.

fn main() -> std::process::ExitCode {
    adit_interop::main()
}
