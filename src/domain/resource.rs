//! One resource, one identity, whichever scanner speaks of it.

use std::borrow::Cow;

/// The identity under which a resource is known to all scanners.
///
/// - Azure ids are case-insensitive and differ in case between services: lower-cased.
/// - ARNs: partition, service and region are lower-cased; the rest is case-sensitive and stays.
/// - Everything else: surrounding white space removed, otherwise as written. Host names are lower-cased by the
///   formats that know that they are host names, and Kubernetes objects come as `group/kind/namespace/name`.
pub fn normalise(id: &str) -> Cow<'_, str> {
    let trimmed = id.trim();
    if starts_with_ignore_case(trimmed, "/subscriptions/") || starts_with_ignore_case(trimmed, "/providers/") {
        return lower(trimmed);
    }
    if starts_with_ignore_case(trimmed, "arn:") {
        // arn:partition:service:region:account:resource
        let head = trimmed.match_indices(':').nth(3).map_or(trimmed.len(), |(i, _)| i);
        if trimmed.as_bytes()[..head].iter().any(u8::is_ascii_uppercase) {
            return Cow::Owned(trimmed[..head].to_ascii_lowercase() + &trimmed[head..]);
        }
    }
    Cow::Borrowed(trimmed)
}

/// A Kubernetes object's identity: `cluster` first if known, then group (empty for core), kind, namespace, name.
/// Kind is written as Kubernetes writes it; an absent namespace is empty.
pub fn kubernetes(cluster: Option<&str>, group: &str, kind: &str, namespace: &str, name: &str) -> String {
    match cluster {
        Some(c) if !c.is_empty() => format!("{c}:{group}/{kind}/{namespace}/{name}"),
        _ => format!("{group}/{kind}/{namespace}/{name}"),
    }
}

/// A host's identity: lower case, no trailing dot.
pub fn host(name: &str) -> Cow<'_, str> {
    lower(name.trim().trim_end_matches('.'))
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) }
}

fn starts_with_ignore_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_resource_has_one_identity() {
        assert_eq!(normalise("/SUBSCRIPTIONS/A/resourceGroups/Rg"), "/subscriptions/a/resourcegroups/rg");
        assert_eq!(normalise("arn:AWS:S3:::My-Bucket"), "arn:aws:s3:::My-Bucket");
        assert_eq!(normalise(" arn:aws:s3:::b "), "arn:aws:s3:::b");
        assert_eq!(normalise("main.tf:aws_s3_bucket.B"), "main.tf:aws_s3_bucket.B");
        assert_eq!(host("Web-01.Acme.Example."), "web-01.acme.example");
        assert_eq!(kubernetes(Some("prod"), "apps", "Deployment", "shop", "web"), "prod:apps/Deployment/shop/web");
        assert_eq!(kubernetes(None, "", "Pod", "shop", "web"), "/Pod/shop/web");
    }
}
