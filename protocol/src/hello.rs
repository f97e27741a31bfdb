//! The first message each way: HELLO, then WELCOME or REFUSE (protocol section 7, S1). Each is one array `[kind, map]`.
//! Used by the session when a link opens. Nothing here prints what authenticates.

use crate::error::{FloorCharBoundary, Violation};
use crate::limits::{Limits, MESSAGE_MAX};
use crate::put::{put_array, put_bin, put_bool, put_map, put_str, put_uint};
use crate::read::Reader;
use crate::scan::{Bad, Budget, scan_value, scan_whole};
pub use crate::secret::{Auth, Token};

/// The version that this crate speaks.
pub const VERSION: u64 = 1;
/// Longest HELLO, WELCOME or REFUSE, in bytes (S1.3).
pub const HANDSHAKE_MAX: usize = 16 << 10;
/// Longest `agent`, in bytes.
pub const AGENT_MAX: usize = 64;
/// Longest `auth`, in bytes.
pub const AUTH_MAX: usize = 8 << 10;

const HELLO: u64 = 17;
const WELCOME: u64 = 18;
const REFUSE: u64 = 19;

/// What a client that comes back says of its session (S6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// Which session.
    pub session: [u8; 16],
    /// Its newest token.
    pub token: Token,
    /// Counts the client's attempts, from 2.
    pub epoch: u64,
    /// The last frame the client accepted.
    pub received: u64,
    /// The oldest frame the client can still send again.
    pub oldest: u64,
}

/// Kind 17, from the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// 1. Of any other version nothing else is read: the answer is REFUSE 21.
    pub version: u64,
    /// The program, for logs; at most 64 bytes.
    pub agent: String,
    /// At most 8 KiB.
    pub auth: Option<Auth>,
    /// Features that the client has.
    pub features: Vec<String>,
    /// What the server may do to the client.
    pub limits: Limits,
    /// Present when the client comes back.
    pub resume: Option<Resume>,
}

/// Kind 18: the server takes the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// 1.
    pub version: u64,
    /// Features that both have.
    pub features: Vec<String>,
    /// What the client may do to the server.
    pub limits: Limits,
    /// Names the session.
    pub session: [u8; 16],
    /// New at every WELCOME.
    pub token: Token,
    /// `false`: a fresh session, an old one is lost.
    pub resumed: bool,
    /// Interface id of the root object.
    pub root: Option<String>,
    /// 1 when fresh.
    pub epoch: u64,
    /// The last frame the server accepted; 0 when fresh.
    pub received: u64,
    /// The oldest frame the server can still send again; 1 when fresh.
    pub oldest: u64,
    /// Of the server process.
    pub incarnation: u64,
    /// How long a session outlives its link, in ms; 0: not at all.
    pub window: u64,
    /// Silence before a ping, in ms.
    pub ping: u64,
}

/// Kind 19: the server does not take the client; Close 4003 follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refuse {
    /// As written; read with [`crate::Code::from_raw`].
    pub code: u64,
    /// At most 256 bytes.
    pub message: String,
    /// When to try again, in ms.
    pub retry_after: Option<u64>,
}

/// The server's first message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Taken.
    Welcome(Welcome),
    /// Not taken.
    Refuse(Refuse),
}

impl Default for Hello {
    fn default() -> Hello {
        Hello {
            version: VERSION,
            agent: String::new(),
            auth: None,
            features: Vec::new(),
            limits: Limits::default(),
            resume: None,
        }
    }
}

impl Welcome {
    /// The answer that opens a fresh session: nothing received yet, `epoch` 1, a link's end is the session's end, ping
    /// after 20 s.
    pub fn fresh(session: [u8; 16], token: Token) -> Welcome {
        Welcome {
            version: VERSION,
            features: Vec::new(),
            limits: Limits::default(),
            session,
            token,
            resumed: false,
            root: None,
            epoch: 1,
            received: 0,
            oldest: 1,
            incarnation: 1,
            window: 0,
            ping: 20_000,
        }
    }

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MapOut::new(WELCOME);
        out.uint("version", self.version);
        out.features(&self.features);
        out.limits(&self.limits);
        out.key("session");
        put_bin(&mut out.body, &self.session);
        out.key("token");
        put_bin(&mut out.body, &self.token.0);
        out.key("resumed");
        put_bool(&mut out.body, self.resumed);
        if let Some(root) = &self.root {
            out.key("root");
            put_str(&mut out.body, root);
        }
        out.uint("epoch", self.epoch);
        out.uint("received", self.received);
        out.uint("oldest", self.oldest);
        out.uint("incarnation", self.incarnation);
        out.uint("window", self.window);
        out.uint("ping", self.ping);
        out.finish()
    }
}

impl Hello {
    /// The message. An `agent` is cut to 64 bytes; the caller keeps the other limits.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MapOut::new(HELLO);
        out.uint("version", self.version);
        out.text("agent", &self.agent, AGENT_MAX);
        match &self.auth {
            Some(Auth::Text(text)) => {
                out.key("auth");
                put_str(&mut out.body, text);
            }
            Some(Auth::Bytes(bytes)) => {
                out.key("auth");
                put_bin(&mut out.body, bytes);
            }
            None => {}
        }
        if !self.features.is_empty() {
            out.features(&self.features);
        }
        if self.limits != Limits::default() {
            out.limits(&self.limits);
        }
        if let Some(resume) = &self.resume {
            out.key("resume");
            put_map(&mut out.body, 5);
            put_str(&mut out.body, "session");
            put_bin(&mut out.body, &resume.session);
            put_str(&mut out.body, "token");
            put_bin(&mut out.body, &resume.token.0);
            for (key, value) in [
                ("epoch", resume.epoch),
                ("received", resume.received),
                ("oldest", resume.oldest),
            ] {
                put_str(&mut out.body, key);
                put_uint(&mut out.body, value);
            }
        }
        out.finish()
    }

    /// Reads a client's first message. A malformed one is a violation (Close 4001); of one in another version only the
    /// version is told.
    pub fn decode(message: &[u8]) -> Result<Hello, Violation> {
        Ok(decode_hello(message)?)
    }
}

impl Refuse {
    /// The message. The text is cut to 256 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MapOut::new(REFUSE);
        out.uint("code", self.code);
        out.text("message", &self.message, MESSAGE_MAX);
        if let Some(retry_after) = self.retry_after {
            out.uint("retry_after", retry_after);
        }
        out.finish()
    }
}

impl Reply {
    /// Reads a server's first message.
    pub fn decode(message: &[u8]) -> Result<Reply, Violation> {
        Ok(decode_reply(message)?)
    }
}

/// `[kind, map]` being written; how many entries is known at its end.
struct MapOut {
    kind: u64,
    entries: usize,
    body: Vec<u8>,
}

impl MapOut {
    fn new(kind: u64) -> MapOut {
        MapOut {
            kind,
            entries: 0,
            body: Vec::with_capacity(256),
        }
    }

    fn key(&mut self, key: &str) {
        self.entries += 1;
        put_str(&mut self.body, key);
    }

    fn uint(&mut self, key: &str, value: u64) {
        self.key(key);
        put_uint(&mut self.body, value);
    }

    fn text(&mut self, key: &str, text: &str, most: usize) {
        self.key(key);
        put_str(
            &mut self.body,
            text.get(..text.floor_char_boundary_at(most))
                .unwrap_or_default(),
        );
    }

    fn features(&mut self, features: &[String]) {
        self.key("features");
        put_array(&mut self.body, features.len());
        for feature in features {
            put_str(&mut self.body, feature);
        }
    }

    /// Those that differ from the default.
    fn limits(&mut self, limits: &Limits) {
        self.key("limits");
        let (mine, usual) = (limit_entries(limits), limit_entries(&Limits::default()));
        let stated = || {
            mine.iter()
                .zip(&usual)
                .filter(|(a, b)| a != b)
                .map(|(a, _)| *a)
        };
        put_map(&mut self.body, stated().count());
        for (key, value) in stated() {
            put_str(&mut self.body, key);
            put_uint(&mut self.body, value);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.body.len() + 8);
        put_array(&mut message, 2);
        put_uint(&mut message, self.kind);
        put_map(&mut message, self.entries);
        message.extend_from_slice(&self.body);
        message
    }
}

fn limit_entries(limits: &Limits) -> [(&'static str, u64); 9] {
    [
        ("calls", limits.calls.into()),
        ("nested", limits.nested.into()),
        ("bytes", limits.bytes),
        ("frame", limits.frame),
        ("batch", limits.batch),
        ("table", limits.table.into()),
        ("streams", limits.streams.into()),
        ("subs", limits.subs.into()),
        ("transfers", limits.transfers.into()),
    ]
}

/// Checks the whole message and returns its kind and a reader that stands at the map.
fn open(message: &[u8]) -> Result<(u64, Reader<'_>), Bad> {
    if message.len() > HANDSHAKE_MAX {
        return Err(Bad::HandshakeSize);
    }
    scan_whole(message, 0, &mut Budget::default())?;
    let mut reader = Reader::new(message);
    let shape = |_| Bad::HandshakeShape;
    if reader.array().map_err(shape)? != 2 {
        return Err(Bad::HandshakeShape);
    }
    let kind = match reader.uint() {
        Err(Bad::Type) => return Err(Bad::HandshakeShape),
        kind => kind?,
    };
    let mut ahead = reader;
    ahead.map().map_err(shape)?;
    Ok((kind, reader))
}

/// Walks a map whose keys are str. `known` reads the value of a key that is among `keys`; others are passed. The result
/// has a bit for each of `keys` that was there.
fn read_map<'a>(
    reader: &mut Reader<'a>,
    keys: &[&str],
    mut known: impl FnMut(&mut Reader<'a>, &str) -> Result<(), Bad>,
) -> Result<u32, Bad> {
    let mut seen = 0u32;
    for _ in 0..reader.map().map_err(malformed)? {
        let (_, key) = reader.str().map_err(malformed)?;
        match keys.iter().position(|&k| k == key) {
            Some(index) => {
                if seen & 1 << index != 0 {
                    return Err(Bad::HandshakeKeyTwice);
                }
                seen |= 1 << index;
                known(reader, key).map_err(malformed)?;
            }
            None => reader.pos = scan_value(reader.bytes, reader.pos, &mut Budget::default())?,
        }
    }
    Ok(seen)
}

/// A value of the wrong type is the handshake's fault; what has a rule of its own keeps it.
fn malformed(bad: Bad) -> Bad {
    if bad == Bad::Type {
        Bad::HandshakeValue
    } else {
        bad
    }
}

/// The keys whose bits are `needed` must all have been there.
fn require(seen: u32, needed: u32) -> Result<(), Bad> {
    if seen & needed == needed {
        Ok(())
    } else {
        Err(Bad::HandshakeKey)
    }
}

fn decode_hello(message: &[u8]) -> Result<Hello, Bad> {
    let (kind, mut reader) = open(message)?;
    if kind != HELLO {
        return Err(Bad::HandshakeShape);
    }
    // The version first, wherever it stands: another one may give every other key another meaning.
    let mut hello = Hello::default();
    let mut ahead = reader;
    let seen = read_map(&mut ahead, &["version"], |r, _| {
        hello.version = r.uint()?;
        Ok(())
    })?;
    require(seen, 1)?;
    if hello.version != VERSION {
        return Ok(hello);
    }
    let keys = ["agent", "auth", "features", "limits", "resume"];
    let seen = read_map(&mut reader, &keys, |r, key| {
        match key {
            "agent" => hello.agent = text(r, AGENT_MAX)?,
            "auth" => hello.auth = Some(auth(r)?),
            "features" => hello.features = features(r)?,
            "limits" => hello.limits = limits(r)?,
            _ => hello.resume = Some(resume(r)?),
        }
        Ok(())
    })?;
    require(seen, 1)?;
    Ok(hello)
}

fn decode_reply(message: &[u8]) -> Result<Reply, Bad> {
    let (kind, mut reader) = open(message)?;
    match kind {
        WELCOME => Ok(Reply::Welcome(welcome(&mut reader)?)),
        REFUSE => Ok(Reply::Refuse(refuse(&mut reader)?)),
        _ => Err(Bad::HandshakeShape),
    }
}

fn welcome(reader: &mut Reader<'_>) -> Result<Welcome, Bad> {
    let keys = [
        "version",
        "session",
        "token",
        "resumed",
        "epoch",
        "received",
        "oldest",
        "incarnation",
        "window",
        "ping",
        "features",
        "limits",
        "root",
    ];
    let mut w = Welcome::fresh([0; 16], Token([0; 32]));
    let seen = read_map(reader, &keys, |r, key| {
        match key {
            "version" => w.version = r.uint()?,
            "session" => w.session = fixed(r)?,
            "token" => w.token = Token(fixed(r)?),
            "resumed" => w.resumed = r.bool()?,
            "epoch" => w.epoch = r.id()?,
            "received" => w.received = r.id()?,
            "oldest" => w.oldest = r.id()?,
            "incarnation" => w.incarnation = r.id()?,
            "window" => w.window = r.uint()?,
            "ping" => w.ping = r.uint()?,
            "features" => w.features = features(r)?,
            "limits" => w.limits = limits(r)?,
            _ => w.root = Some(r.str()?.1.to_owned()),
        }
        Ok(())
    })?;
    // All but the last three are always there.
    require(seen, (1 << 10) - 1)?;
    if w.version == VERSION {
        Ok(w)
    } else {
        Err(Bad::HandshakeValue)
    }
}

fn refuse(reader: &mut Reader<'_>) -> Result<Refuse, Bad> {
    let mut refuse = Refuse {
        code: 0,
        message: String::new(),
        retry_after: None,
    };
    let seen = read_map(reader, &["code", "message", "retry_after"], |r, key| {
        match key {
            "code" => refuse.code = r.uint()?,
            "message" => refuse.message = text(r, MESSAGE_MAX)?,
            _ => refuse.retry_after = Some(r.uint()?),
        }
        Ok(())
    })?;
    require(seen, 0b11)?;
    Ok(refuse)
}

fn text(reader: &mut Reader<'_>, most: usize) -> Result<String, Bad> {
    let (_, text) = reader.str()?;
    if text.len() > most {
        Err(Bad::HandshakeSize)
    } else {
        Ok(text.to_owned())
    }
}

fn auth(reader: &mut Reader<'_>) -> Result<Auth, Bad> {
    let auth = match reader.peek()? {
        0xc4..=0xc6 => Auth::Bytes(reader.bin()?.1.to_owned()),
        _ => Auth::Text(reader.str()?.1.to_owned()),
    };
    if auth.as_bytes().len() > AUTH_MAX {
        Err(Bad::HandshakeSize)
    } else {
        Ok(auth)
    }
}

fn features(reader: &mut Reader<'_>) -> Result<Vec<String>, Bad> {
    // Not reserved by the claim: a message of 16 KiB may claim 16,000 of them.
    let mut features = Vec::new();
    for _ in 0..reader.array()? {
        features.push(reader.str()?.1.to_owned());
    }
    Ok(features)
}

fn fixed<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Bad> {
    reader.bin()?.1.try_into().map_err(|_| Bad::HandshakeValue)
}

fn limits(reader: &mut Reader<'_>) -> Result<Limits, Bad> {
    let mut limits = Limits::default();
    let keys = limit_entries(&limits).map(|(key, _)| key);
    read_map(reader, &keys, |r, key| {
        let value = r.uint()?;
        // What does not fit is as good as no limit.
        let small = u32::try_from(value).unwrap_or(u32::MAX);
        match key {
            "calls" => limits.calls = small,
            "nested" => limits.nested = small,
            "bytes" => limits.bytes = value,
            "frame" => limits.frame = value,
            "batch" => limits.batch = value,
            "table" => limits.table = small,
            "streams" => limits.streams = small,
            "subs" => limits.subs = small,
            _ => limits.transfers = small,
        }
        Ok(())
    })?;
    Ok(limits.normalized())
}

fn resume(reader: &mut Reader<'_>) -> Result<Resume, Bad> {
    let mut resume = Resume {
        session: [0; 16],
        token: Token([0; 32]),
        epoch: 0,
        received: 0,
        oldest: 0,
    };
    let seen = read_map(
        reader,
        &["session", "token", "epoch", "received", "oldest"],
        |r, key| {
            match key {
                "session" => resume.session = fixed(r)?,
                "token" => resume.token = Token(fixed(r)?),
                "epoch" => resume.epoch = r.id()?,
                "received" => resume.received = r.id()?,
                _ => resume.oldest = r.id()?,
            }
            Ok(())
        },
    )?;
    require(seen, 0b1_1111)?;
    Ok(resume)
}
