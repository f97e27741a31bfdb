//! Certificates for tests, made on the spot: an authority, and what it signs. Used by the tests of TLS.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};

use helve::tls::ServerTls;

/// An authority that a client may trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both PEM.
pub struct Issued {
    /// The certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

impl Issued {
    /// As a server shows it.
    pub fn tls(&self) -> ServerTls {
        ServerTls::from_pem(&self.chain, &self.key).expect("certificate and key belong together")
    }
}

impl Authority {
    /// A new one, that nobody trusts yet.
    pub fn new() -> Authority {
        Authority::called("an authority of tests")
    }

    /// The same, of a name.
    pub fn called(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For `localhost` and the addresses of loopback.
    pub fn localhost(&self) -> Issued {
        self.issue(&["localhost", "127.0.0.1", "::1"], |_| ())
    }

    /// For a server of that name.
    pub fn named(&self, name: &str) -> Issued {
        self.issue(&[name], |_| ())
    }

    /// For `localhost`, until New Year 2020.
    pub fn expired(&self) -> Issued {
        self.issue(&["localhost"], |params| {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    /// For a client.
    pub fn client(&self) -> Issued {
        self.issue(&["a client"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    fn issue(&self, names: &[&str], with: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        with(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}
