//! Which framework a reference means, by the document that it points to.
//!
//! Content names a requirement by the address of the framework's document and the requirement's id as text. The table
//! knows the addresses that ComplianceAsCode (0.1.65 to 0.1.82) and DISA use; an operator may add others.

use super::{line, tame};

/// What an address, or its beginning, means. The longest that fits wins.
const KNOWN: &[(&str, &str)] = &[
    ("nvlpubs.nist.gov/nistpubs/SpecialPublications/NIST.SP.800-53r4", "nist-800-53-r4"),
    ("nvlpubs.nist.gov/nistpubs/SpecialPublications/NIST.SP.800-53r5", "nist-800-53-r5"),
    ("nvlpubs.nist.gov/nistpubs/SpecialPublications/NIST.SP.800-171", "nist-800-171"),
    ("nvlpubs.nist.gov/nistpubs/CSWP/NIST.CSWP.04162018", "nist-csf-1.1"),
    ("nvlpubs.nist.gov/nistpubs/CSWP/NIST.CSWP.29", "nist-csf-2.0"),
    ("raw.githubusercontent.com/usnistgov/oscal-content/main/nist.gov/SP800-53/rev5/", "nist-800-53-r5"),
    ("github.com/usnistgov/oscal-content/blob/main/nist.gov/SP800-53/rev5/", "nist-800-53-r5"),
    ("github.com/usnistgov/oscal-content/blob/main/nist.gov/SP800-53/rev4/", "nist-800-53-r4"),
    ("www.cisecurity.org/controls/", "cis-controls"),
    ("www.cisecurity.org/benchmark/", "cis-"),
    ("www.pcisecuritystandards.org/documents/PCI_DSS_v3-2-1", "pci-dss-3.2.1"),
    ("docs-prv.pcisecuritystandards.org/PCI%20DSS/Standard/PCI-DSS-v4_0.pdf", "pci-dss-4.0"),
    ("docs-prv.pcisecuritystandards.org/PCI%20DSS/Standard/PCI-DSS-v4_0_1.pdf", "pci-dss-4.0.1"),
    ("www.gpo.gov/fdsys/pkg/CFR-2007-title45", "hipaa"),
    ("www.ecfr.gov/current/title-45/subtitle-A/subchapter-C/part-164", "hipaa"),
    ("www.isaca.org/resources/cobit", "cobit-5"),
    ("www.iso.org/standard/54534", "iso-27001-2013"),
    ("www.iso.org/contents/data/standard/05/45/54534", "iso-27001-2013"),
    ("www.iso.org/standard/82875", "iso-27001-2022"),
    ("www.isa.org/products/isa-62443-2-1-2009", "isa-62443-2-1-2009"),
    ("www.isa.org/products/ansi-isa-62443-3-3", "isa-62443-3-3-2013"),
    ("www.fbi.gov/file-repository/cjis-security-policy-v5_5", "cjis-5.5"),
    ("www.nerc.com/", "nerc-cip"),
    ("www.cyber.mil/stigs/cci", "disa-cci"),
    ("public.cyber.mil/stigs/cci", "disa-cci"),
    ("www.cyber.mil/stigs/downloads/?_dl_facet_stigs=operating-systems%2Cgeneral-purpose-os", "disa-srg-os"),
    ("public.cyber.mil/stigs/downloads/?_dl_facet_stigs=operating-systems%2Cgeneral-purpose-os", "disa-srg-os"),
    ("www.cyber.mil/stigs/downloads/?_dl_facet_stigs=app-security", "disa-srg-app"),
    ("public.cyber.mil/stigs/downloads/?_dl_facet_stigs=app-security", "disa-srg-app"),
    ("www.cyber.mil/stigs/downloads/?_dl_facet_stigs=application-servers", "disa-srg-app-server"),
    ("public.cyber.mil/stigs/downloads/?_dl_facet_stigs=application-servers", "disa-srg-app-server"),
    ("www.cyber.mil/stigs/downloads/?_dl_facet_stigs=operating-systems%2Cunix-linux", "disa-stig"),
    ("public.cyber.mil/stigs/downloads/?_dl_facet_stigs=operating-systems%2Cunix-linux", "disa-stig"),
    ("cyber.gouv.fr/sites/default/files/document/linux_configuration", "anssi-bp28"),
    ("www.ssi.gouv.fr/", "anssi-bp28"),
    ("www.bsi.bund.de/SharedDocs/Downloads/EN/BSI/Grundschutz/International/bsi_it_gs_comp_2022", "bsi-grundschutz-2022"),
    ("www.cyber.gov.au/acsc/view-all-content/ism", "ism"),
    ("www.cyber.gov.au/", "ism"),
    ("www.niap-ccevs.org/", "ospp"),
    ("www.ccn-cert.cni.es/", "ccn"),
];

/// Names of frameworks that the operator chose: (beginning of an address, framework).
#[derive(Clone, Debug, Default)]
pub struct Renames {
    pairs: Vec<(String, String)>,
}

impl Renames {
    /// Adds `ADDRESS=FRAMEWORK`.
    ///
    /// # Errors
    /// There is no `=`, or the framework's name is none.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        // Addresses have `=` in their queries, names of frameworks have none.
        let (address, name) = text.rsplit_once('=').ok_or("expected ADDRESS=FRAMEWORK, found no `=`")?;
        if name.is_empty() || tame(name, true) != name {
            return Err(format!(
                "`{name}` cannot be a framework's name; use lower-case letters, digits, `-` and `.`, such as cis-debian-12"
            ));
        }
        if address.is_empty() {
            return Err("there is no address before the `=`".to_owned());
        }
        self.pairs.push((bare(address).to_owned(), name.to_owned()));
        Ok(())
    }

    /// The framework that an address means.
    pub(super) fn framework(&self, href: &str) -> Option<String> {
        let href = bare(href.trim());
        if href.is_empty() {
            return None;
        }
        let own = self.pairs.iter().filter(|(at, _)| href.starts_with(at.as_str())).max_by_key(|(at, _)| at.len());
        if let Some((_, name)) = own {
            return Some(name.clone());
        }
        let (at, name) = KNOWN.iter().filter(|(at, _)| href.starts_with(at)).max_by_key(|(at, _)| at.len())?;
        if !name.ends_with('-') {
            return Some((*name).to_owned());
        }
        // One address a product: `…/benchmark/debian_linux/`.
        let product = href[at.len()..].split(['/', '?', '#']).next().filter(|p| !p.is_empty())?;
        Some(tame(&format!("{name}{}", product.replace('_', "-")), true))
    }
}

/// Without the scheme: content has `http:` and `https:` for the same document.
fn bare(href: &str) -> &str {
    href.split_once("://").map_or(href, |(_, rest)| rest)
}

/// The ids in a reference's text: several may be separated by commas, and PCI's have a `Req-` before them.
pub(super) fn ids(framework: &str, text: &str) -> Vec<String> {
    text.split(',')
        .map(line)
        .map(|id| match id.strip_prefix("Req-") {
            Some(rest) if framework.starts_with("pci-dss") => rest.to_owned(),
            _ => id,
        })
        .filter(|id| !id.is_empty() && id.len() <= 200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_means_a_framework() {
        let none = Renames::default();
        let known = |href: &str| none.framework(href);
        assert_eq!(known("http://nvlpubs.nist.gov/nistpubs/SpecialPublications/NIST.SP.800-53r4.pdf").as_deref(), Some("nist-800-53-r4"));
        assert_eq!(known("https://www.cisecurity.org/benchmark/red_hat_linux/").as_deref(), Some("cis-red-hat-linux"));
        assert_eq!(known("https://www.cisecurity.org/controls/").as_deref(), Some("cis-controls"));
        assert_eq!(
            known("https://docs-prv.pcisecuritystandards.org/PCI%20DSS/Standard/PCI-DSS-v4_0_1.pdf").as_deref(),
            Some("pci-dss-4.0.1")
        );
        assert_eq!((known(""), known("https://wiki.acme.example/x")), (None, None));
        let mut own = Renames::default();
        own.add("https://wiki.acme.example/security=acme-2").expect("well formed");
        own.add("https://www.cisecurity.org/benchmark/debian_linux/=cis-debian-12").expect("well formed");
        assert_eq!(own.framework("http://wiki.acme.example/security/7").as_deref(), Some("acme-2"));
        assert_eq!(own.framework("https://www.cisecurity.org/benchmark/debian_linux/").as_deref(), Some("cis-debian-12"));
        for bad in ["acme", "=acme", "https://a/=Acme 2"] {
            assert!(own.add(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_may_name_several_ids() {
        assert_eq!(ids("nist-800-53-r4", "AC-6(2),CM-6  (a)"), ["AC-6(2)", "CM-6 (a)"]);
        assert_eq!(ids("pci-dss-3.2.1", "Req-11.5"), ["11.5"]);
        assert!(ids("hipaa", " ").is_empty());
    }
}
