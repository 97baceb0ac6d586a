//! Subject alternative names of a certificate (RFC 5280 §4.2.1.6), by a walk over its DER.

use std::net::{Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17
const SUBJECT_ALT_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x11];

/// DNS names, mail addresses, IP addresses and URIs. What is malformed is left out.
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    extension(certificate).map(general_names).unwrap_or_default()
}

/// Tag, content and what follows one element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        (bytes.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)), rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// The content of the extension.
fn extension(certificate: &[u8]) -> Option<&[u8]> {
    let (SEQUENCE, outer, _) = element(certificate)? else { return None };
    let (SEQUENCE, mut fields, _) = element(outer)? else { return None };
    while let Some((tag, content, rest)) = element(fields) {
        fields = rest;
        if tag != EXTENSIONS {
            continue;
        }
        let (SEQUENCE, mut list, _) = element(content)? else { return None };
        while let Some((_, one, rest)) = element(list) {
            list = rest;
            let Some(mut after) = one.strip_prefix(&SUBJECT_ALT_NAME) else { continue };
            // A "critical" flag may stand before the value.
            while let Some((tag, value, rest)) = element(after) {
                if tag == OCTET_STRING {
                    return Some(value);
                }
                after = rest;
            }
        }
    }
    None
}

fn general_names(value: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some((SEQUENCE, mut list, _)) = element(value) else { return names };
    while let Some((tag, content, rest)) = element(list) {
        list = rest;
        match tag {
            // rfc822Name, dNSName, uniformResourceIdentifier
            0x81 | 0x82 | 0x86 => names.extend(String::from_utf8(content.to_vec()).ok()),
            0x87 => {
                if let Ok(v4) = <[u8; 4]>::try_from(content) {
                    names.push(Ipv4Addr::from(v4).to_string());
                } else if let Ok(v6) = <[u8; 16]>::try_from(content) {
                    names.push(Ipv6Addr::from(v6).to_string());
                }
            }
            _ => {}
        }
    }
    names
}
