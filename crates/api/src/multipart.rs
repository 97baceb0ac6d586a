//! Forms as `multipart/form-data`, read as Go's `mime/multipart` reads them; files in them are passed over.
//!
//! Room: `api`. Pure.

/// The boundary, if a `Content-Type` is that of such a form and names one.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (media, rest) = content_type.split_once(';')?;
    if !media.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(rest, "boundary").filter(|b| !b.is_empty())
}

/// Names and values in their order. `None` for a body that is not well formed.
pub(crate) fn fields(body: &[u8], boundary: &str) -> Option<Vec<(String, String)>> {
    let delimiter = format!("--{boundary}");
    let mut rest = match body.starts_with(delimiter.as_bytes()) {
        true => &body[delimiter.len()..],
        false => split(body, format!("\r\n{delimiter}").as_bytes())?.1,
    };
    let delimiter = format!("\r\n{delimiter}");
    let mut fields = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(fields);
        }
        let (padding, after) = split(rest, b"\r\n")?;
        if padding.iter().any(|b| !matches!(b, b' ' | b'\t')) {
            return None;
        }
        // A part without headers begins with the blank line.
        let (head, after) = match after.strip_prefix(b"\r\n") {
            Some(content) => (&b""[..], content),
            None => split(after, b"\r\n\r\n")?,
        };
        let (content, after) = match after.strip_prefix(&delimiter.as_bytes()[2..]) {
            Some(after) => (&b""[..], after),
            None => split(after, delimiter.as_bytes())?,
        };
        if let Some(name) = name_of(&String::from_utf8_lossy(head)) {
            fields.push((name, String::from_utf8_lossy(content).into_owned()));
        }
        rest = after;
    }
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = memchr::memmem::find(bytes, at)?;
    Some((&bytes[..found], &bytes[found + at.len()..]))
}

/// The name of a part that is a field and no file.
fn name_of(head: &str) -> Option<String> {
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let (kind, rest) = disposition.split_once(';')?;
    let is_field = kind.trim().eq_ignore_ascii_case("form-data") && parameter(rest, "filename").is_none();
    parameter(rest, "name").filter(|name| is_field && !name.is_empty())
}

/// A parameter of a header (`; a=b; c="d"`), without quotes and escapes.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let quoted = after.starts_with('"');
        let mut end = after.len();
        if quoted {
            chars.next();
        }
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if quoted => {
                    end = at + 1;
                    break;
                }
                '\\' if quoted => value.extend(chars.next().map(|(_, c)| c)),
                ';' if !quoted => {
                    end = at;
                    break;
                }
                c => value.push(c),
            }
        }
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(if quoted { value } else { value.trim().to_owned() });
        }
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_refused_and_never_panics() {
        let form = "--b\r\nContent-Disposition: form-data; name=\"quéry\"\r\n\r\nup\r\n--b--";
        assert_eq!(fields(form.as_bytes(), "b"), Some(vec![("quéry".to_owned(), "up".to_owned())]));
        for end in 0..form.len() {
            assert_eq!(fields(&form.as_bytes()[..end], "b"), None, "{end}");
            for byte in [0, b'"', b'\\', b'=', b';', b'\r', 0xc3] {
                let mut bytes = form.as_bytes().to_vec();
                bytes[end] = byte;
                let _ = fields(&bytes, "b");
                let _ = boundary(&String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn boundaries() {
        assert_eq!(boundary("multipart/form-data; boundary=ab"), Some("ab".into()));
        assert_eq!(boundary(r#"Multipart/Form-Data; charset=x; Boundary="a;b\"""#), Some("a;b\"".into()));
        for no in ["multipart/form-data", "multipart/mixed; boundary=x", "multipart/form-data; boundary="] {
            assert_eq!(boundary(no), None, "{no}");
        }
    }

    #[test]
    fn forms() {
        let body = "preamble\r\n--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--x \r\n\
                    content-disposition: form-data; name=b; filename=\"f\"\r\n\r\nfile\r\n--x\r\n\
                    Content-Type: text/plain\r\nContent-Disposition: form-data; name=\"match[]\"\r\n\r\n\r\n--x--\r\n";
        let want = vec![("a".to_owned(), "1\r\n2".to_owned()), ("match[]".to_owned(), String::new())];
        assert_eq!(fields(body.as_bytes(), "x"), Some(want));
        for broken in ["", "garbage", "--x\r\nno end", "--xy\r\n\r\n\r\n--xy--", &body[..60]] {
            assert_eq!(fields(broken.as_bytes(), "x"), None, "{broken}");
        }
        for end in 0..body.len() {
            let _ = fields(&body.as_bytes()[..end], "x");
        }
    }
}
