//! Credentials and extra headers of a request; what stands in files is read each time.

use super::oauth2::TokenSource;
use super::{ClientError, ClientOptions, SECRET_FILE_BYTES};
use crate::config::{Header, HttpClientConfig};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::path::{Path, PathBuf};

/// A text that is given or stands in a file.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Given(String),
    File(PathBuf),
}

impl Source {
    pub(super) fn of(given: &str, file: &Path) -> Source {
        if given.is_empty() && !file.as_os_str().is_empty() {
            Source::File(file.to_owned())
        } else {
            Source::Given(given.to_owned())
        }
    }

    /// The text now. `what` says what could not be read: `authorization credentials`.
    pub(super) fn read(&self, what: &str) -> Result<String, ClientError> {
        match self {
            Source::Given(text) => Ok(text.clone()),
            Source::File(path) => {
                read_file(path).map_err(|e| ClientError::Credentials(format!("unable to read {what}: {e}")))
            }
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    disk::small::read_text(&disk::OsDisk, path, SECRET_FILE_BYTES)
        .map(|text| text.trim().to_owned())
        .map_err(|e| format!("unable to read file {}: {e}", path.display()))
}

#[derive(Debug)]
enum Scheme {
    None,
    Basic { username: Source, password: Source },
    Typed { kind: String, credentials: Source },
    OAuth2(Box<TokenSource>),
}

#[derive(Debug)]
pub(super) struct Credentials {
    scheme: Scheme,
    headers: Vec<(HeaderName, Header)>,
}

impl Credentials {
    pub(super) fn new(config: &HttpClientConfig, options: &ClientOptions) -> Result<Self, ClientError> {
        let scheme = if let Some(basic) = &config.basic_auth {
            Scheme::Basic {
                username: Source::of(&basic.username, &basic.username_file),
                password: Source::of(basic.password.expose(), &basic.password_file),
            }
        } else if let Some(auth) = &config.authorization {
            let credentials = Source::of(auth.credentials.expose(), &auth.credentials_file);
            Scheme::Typed { kind: auth.kind.clone(), credentials }
        } else if let Some(oauth2) = &config.oauth2 {
            Scheme::OAuth2(Box::new(TokenSource::new(oauth2, options)?))
        } else {
            Scheme::None
        };
        let headers = config.http_headers.0.iter().map(|(name, header)| {
            let name = HeaderName::from_bytes(name.as_bytes());
            name.map(|name| (name, header.clone())).map_err(|e| ClientError::Config(e.to_string()))
        });
        Ok(Credentials { scheme, headers: headers.collect::<Result<_, _>>()? })
    }

    /// Adds `http_headers`.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) -> Result<(), ClientError> {
        for (name, header) in &self.headers {
            let mut add = |text: &str| match HeaderValue::from_str(text) {
                Ok(value) => {
                    headers.append(name, value);
                    Ok(())
                }
                Err(_) => Err(ClientError::Credentials(format!("a value of header {name} cannot be sent"))),
            };
            for value in &header.values {
                add(value)?;
            }
            for secret in &header.secrets {
                add(secret.expose())?;
            }
            for file in &header.files {
                let text = disk::small::read_text(&disk::OsDisk, file, SECRET_FILE_BYTES).map_err(|e| {
                    let file = file.display();
                    ClientError::Credentials(format!("unable to read headers file {file}: {e}"))
                })?;
                add(text.trim())?;
            }
        }
        Ok(())
    }

    /// The `Authorization` header, if there is to be one.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, ClientError> {
        match &self.scheme {
            Scheme::None => Ok(None),
            Scheme::Basic { username, password } => {
                let (username, password) =
                    (username.read("basic auth username")?, password.read("basic auth password")?);
                basic(&username, &password).map(Some)
            }
            Scheme::Typed { kind, credentials } => {
                let credentials = credentials.read("authorization credentials")?;
                sensitive(&format!("{kind} {credentials}")).map(Some)
            }
            Scheme::OAuth2(tokens) => tokens.header().await.map(Some),
        }
    }
}

pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue, ClientError> {
    sensitive(&format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
}

pub(super) fn sensitive(text: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| ClientError::Credentials("credentials have characters that cannot be sent".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
