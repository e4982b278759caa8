//! Entry: everything else is the library's, so that tests can drive it.

fn main() -> std::process::ExitCode {
    // reqwest and our server build their TLS settings on the process's default provider and panic without one.
    rustls::crypto::ring::default_provider().install_default().expect("nothing can have installed a provider before main's first line");
    bornright::cli::main()
}
