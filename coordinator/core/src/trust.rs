//! What TLS says of certificates, and what is to be done about it by whoever calls a coordinator: people, operators and workers have the same flags.

/// A word of TLS's, and what it means.
const MEANINGS: [(&str, &str); 6] = [
    (
        "UnknownIssuer",
        "the authority in --ca has not signed the coordinator's certificate",
    ),
    // Another authority of the same name.
    (
        "BadSignature",
        "the authority in --ca has not signed the coordinator's certificate",
    ),
    (
        "NotValidForName",
        "the coordinator's certificate is one for another name than --coordinator says",
    ),
    (
        "CertificateRequired",
        "the coordinator asks for a certificate of whoever calls: give --cert and --key",
    ),
    (
        "UnknownCA",
        "the coordinator does not know the authority that has signed the certificate in --cert",
    ),
    ("Expired", "a certificate has expired"),
];

/// Why a connection was not made, with what it means where TLS says it of a certificate.
pub fn with_advice(reason: String) -> String {
    match MEANINGS.iter().find(|(word, _)| reason.contains(word)) {
        Some((_, meaning)) => format!("{reason}: {meaning}"),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_in_the_words_of_the_flags() {
        let unknown = with_advice("invalid peer certificate: UnknownIssuer".to_owned());
        assert!(
            unknown.ends_with("the authority in --ca has not signed the coordinator's certificate"),
            "{unknown}"
        );
        let missing = with_advice("transport error: received fatal alert: CertificateRequired".to_owned());
        assert!(missing.ends_with("give --cert and --key"), "{missing}");
        assert_eq!(with_advice("Connection refused".to_owned()), "Connection refused");
    }
}
