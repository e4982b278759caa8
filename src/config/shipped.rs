//! The definitions that ship with the program, as they stand in `slo-definitions/`.

/// (path, text) of every shipped file, sorted by path. A test compares the list with the directory.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    macro_rules! files {
        ($($name:literal),+ $(,)?) => {
            &[$((concat!("slo-definitions/", $name), include_str!(concat!("../../slo-definitions/", $name)))),+]
        };
    }
    files![
        "aws-identity.yaml",
        "aws-logging.yaml",
        "aws-network.yaml",
        "aws-storage.yaml",
        "debian-host-hardening.yaml",
        "kubernetes-pod-security.yaml",
        "repository-pipeline.yaml",
        "slos.yaml",
    ]
}
