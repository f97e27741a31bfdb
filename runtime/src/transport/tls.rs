//! The TLS handshake beneath a WebSocket, on both sides, and what each of its failures means. Called by the client and by
//! the server's task for one connection; which certificates, `helve::tls` says.

use std::io;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::{TlsConnector, client, rustls, server};

use super::endpoint::{AddressError, Endpoint};
use super::handshake::{
    self, AcceptError, AcceptOptions, ConnectError, ConnectOptions, Place, accept_at, connect_over,
    in_time,
};
use super::websocket::WebSocketLink;
use crate::tls::{ServerTls, Trust};

/// The first byte of every TLS connection: a record with a handshake in it.
const HANDSHAKE: u8 = 0x16;

/// Connects to `wss://host:port/path`.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    options: &ConnectOptions,
    trust: &Trust,
) -> Result<WebSocketLink<client::TlsStream<TcpStream>>, ConnectError> {
    let work = async {
        let connector = TlsConnector::from(trust.config().await?);
        let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|_| {
            ConnectError::Address(AddressError::Url {
                url: endpoint.url().to_owned(),
                why: "no certificate can be for this host; write its DNS name or its address"
                    .to_owned(),
            })
        })?;
        let (stream, address) = handshake::dial(endpoint, options.insecure).await?;
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| failure(endpoint, trust, error))?;
        match connect_over(stream, Some(address), endpoint, options.max_message).await {
            // In TLS 1.3 a server that wants a certificate of the client's says so only now.
            Err(ConnectError::Io { source, .. }) => Err(failure(endpoint, trust, source)),
            other => other,
        }
    };
    in_time(endpoint, options.deadline, work).await
}

/// The server's half. To be run in a task of its own, never in the loop that accepts.
pub(crate) async fn accept(
    stream: TcpStream,
    tls: &ServerTls,
    options: &AcceptOptions,
) -> Result<WebSocketLink<server::TlsStream<TcpStream>>, AcceptError> {
    stream.set_nodelay(true)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let stream = timeout_at(options.deadline, begin(stream, tls))
        .await
        .map_err(|_| AcceptError::Timeout)??;
    let place = Place {
        local: Some(local),
        tls: true,
    };
    accept_at(stream, Some(peer), place, options).await
}

/// TLS, where the client speaks it. Whoever speaks HTTP gets to read that it should.
async fn begin(
    mut stream: TcpStream,
    tls: &ServerTls,
) -> Result<server::TlsStream<TcpStream>, AcceptError> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(AcceptError::Gone);
    }
    if first != [HANDSHAKE] {
        let body = "This port speaks TLS: connect with wss://, not ws:// (https://, not http://)."
            .to_owned();
        handshake::refuse(&mut stream, &handshake::answer("400 Bad Request", &body)).await;
        return Err(AcceptError::Plain);
    }
    match tls.0.accept(stream).await {
        Ok(stream) => Ok(stream),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(AcceptError::Gone),
        Err(error) => Err(match cause(&error) {
            Some(why) => AcceptError::NoTls(why.to_string()),
            None => AcceptError::Io(error),
        }),
    }
}

/// What rustls says, inside an error of the stream.
fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}

/// What a client's failed handshake means, and what to do.
fn failure(endpoint: &Endpoint, trust: &Trust, error: io::Error) -> ConnectError {
    let url = endpoint.url().to_owned();
    let Some(cause) = cause(&error) else {
        if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        ) {
            return ConnectError::Cut { url };
        }
        return ConnectError::Io { url, source: error };
    };
    let why = match cause {
        Error::InvalidCertificate(error) => {
            let why = distrust(error, endpoint.host(), trust);
            return ConnectError::Untrusted { url, why };
        }
        Error::InvalidMessage(_) => {
            "it does not speak TLS; is it a plain port? then use ws://".to_owned()
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied,
        ) => format!(
            "it wants a certificate of this client, or another one ({cause}): set one with `.tls_config(..)`"
        ),
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "it does not speak TLS 1.3; bring it up to date, or allow an older version with `.tls_config(..)`"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it does not speak HTTP/1.1 there, with which a WebSocket begins; is the port right?"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => format!(
            "it has no certificate for `{}`; is the host name right?",
            endpoint.host()
        ),
        other => format!("{other}"),
    };
    ConnectError::Tls { url, why }
}

/// Why a server's certificate is not taken, and what to do.
fn distrust(error: &CertificateError, host: &str, trust: &Trust) -> String {
    match error {
        // The second where an authority of the same name is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match trust {
            Trust::Roots(_) => "none of the roots handed to `.tls_roots(..)` signed its certificate; hand over that of the authority that did, or the server's own where it signed itself",
            _ => "no authority that this system trusts signed its certificate; hand that of your own authority to `.tls_roots(..)`; does the server send its whole chain?",
        }
        .to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let mut names = presented.join(", ");
            crate::error::cut(&mut names, 120);
            let names = if names.is_empty() { "no name at all" } else { &names };
            format!("its certificate is for {names}, not for `{host}`; connect by that name, or give the server a certificate for this one")
        }
        CertificateError::NotValidForName => format!(
            "its certificate is not for `{host}`; connect by the name it is for, or give the server one for this name"
        ),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate expired {}; renew it there, or is the clock of this machine wrong?",
            ago(time.as_secs().saturating_sub(not_after.as_secs()))
        ),
        CertificateError::Expired => {
            "its certificate expired; renew it there, or is the clock of this machine wrong?".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is the clock of this machine wrong?".to_owned()
        }
        CertificateError::Revoked => "its certificate was revoked; the server needs a new one".to_owned(),
        other => format!("its certificate is not taken: {other}"),
    }
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..7_200 => format!("{} minutes ago", seconds / 60),
        7_200..172_800 => format!("{} hours ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
