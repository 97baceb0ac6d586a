//! The discovery part of a job: `static_configs` and all `*_sd_configs`.

use crate::file::FileSdConfig;
use crate::group::StaticConfig;
use crate::http_sd::HttpSdConfig;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

/// What upstream knows and this version does not; refused by name.
const UNBUILT: [&str; 34] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "elasticache_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// All ways in which one job finds its targets. Stands inline in its owner: `$inline.sd` (see `net::config`).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SdConfigs {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_sd_configs: Vec<FileSdConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_sd_configs: Vec<HttpSdConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_configs: Vec<StaticConfig>,
}

impl SdConfigs {
    /// Makes relative paths relative to `dir`.
    pub fn set_directory(&mut self, dir: &Path) {
        for file in &mut self.file_sd_configs {
            file.set_directory(dir);
        }
        for http in &mut self.http_sd_configs {
            http.http.set_directory(dir);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.static_configs.is_empty() && self.file_sd_configs.is_empty() && self.http_sd_configs.is_empty()
    }
}

const BUILT: usize = 3;

/// Names of all sections that upstream knows, those that are built first.
pub static SECTIONS: [&str; BUILT + UNBUILT.len()] = {
    let mut all = [""; BUILT + UNBUILT.len()];
    all[0] = "static_configs";
    all[1] = "file_sd_configs";
    all[2] = "http_sd_configs";
    let mut i = 0;
    while i < UNBUILT.len() {
        all[BUILT + i] = UNBUILT[i];
        i += 1;
    }
    all
};

impl<'de> Deserialize<'de> for SdConfigs {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_struct("SdConfigs", &SECTIONS, Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = SdConfigs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("service discovery sections")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SdConfigs, A::Error> {
        let mut configs = SdConfigs::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "static_configs" => {
                    configs.static_configs = map.next_value_seed(Section("static_configs", PhantomData))?
                }
                "file_sd_configs" => {
                    configs.file_sd_configs = map.next_value_seed(Section("file_sd_configs", PhantomData))?
                }
                "http_sd_configs" => {
                    configs.http_sd_configs = map.next_value_seed(Section("http_sd_configs", PhantomData))?
                }
                other => match SECTIONS.iter().find(|f| **f == other) {
                    Some(name) => map.next_value_seed(NotBuilt(name))?,
                    None => return Err(de::Error::unknown_field(other, &SECTIONS)),
                },
            }
        }
        Ok(configs)
    }
}

/// A list without null entries; a seed, so that the error stands where the list does.
struct Section<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Section<T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<T>, D::Error> {
        let list: Option<Vec<Option<T>>> = Deserialize::deserialize(d)?;
        list.unwrap_or_default()
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| de::Error::custom(format!("empty or null section in {}", self.0)))
    }
}

struct NotBuilt(&'static str);

impl<'de> DeserializeSeed<'de> for NotBuilt {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        // An empty list asks for nothing.
        let sections = Option::<Vec<IgnoredAny>>::deserialize(d)?.unwrap_or_default();
        if sections.is_empty() {
            return Ok(());
        }
        Err(de::Error::custom(format!("{} is not built in this version", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn fails(text: &str, want: &str) {
        assert_eq!(yaml::from_str::<SdConfigs>(text).expect_err(text).to_string(), want);
    }

    #[test]
    fn sections_read_and_write() {
        let text = "static_configs:
- targets: [a:1, b]
  labels: {env: 1}
file_sd_configs:
- files: [t/*.json]
http_sd_configs:
- url: http://x/
  basic_auth: {username: 1, password: 007}
kubernetes_sd_configs: []
";
        let mut configs: SdConfigs = yaml::from_str(text).expect("reads");
        configs.set_directory(Path::new("/etc/p"));
        assert_eq!(configs.static_configs[0].labels["env"], "1");
        let want = "file_sd_configs:
- files:
  - /etc/p/t/*.json
  refresh_interval: 5m
http_sd_configs:
- basic_auth:
    username: \"1\"
    password: <secret>
  follow_redirects: true
  enable_http2: true
  refresh_interval: 1m
  url: http://x/
static_configs:
- targets:
  - a:1
  - b
  labels:
    env: \"1\"
";
        assert_eq!(yaml::to_string(&configs).expect("writes"), want);
    }

    #[test]
    fn refusals_name_the_section() {
        fails(
            "static_configs: []\nkubernetes_sd_configs:\n- role: node",
            "line 2: kubernetes_sd_configs: kubernetes_sd_configs is not built in this version",
        );
        fails("nope_sd_configs: []", "line 1: field nope_sd_configs not found in type SdConfigs");
        fails("static_configs:\n-", "line 1: static_configs: empty or null section in static_configs");
        fails(
            "file_sd_configs:\n- files: [a.txt]",
            "line 2: file_sd_configs[0]: path name \"a.txt\" is not valid for file discovery",
        );
        fails(
            "http_sd_configs:\n- url: ftp://x",
            "line 2: http_sd_configs[0]: URL scheme must be 'http' or 'https'",
        );
        fails(
            "static_configs:\n- targets: [a]\n  host: b",
            "line 3: static_configs[0]: field host not found in type StaticConfig",
        );
    }
}
