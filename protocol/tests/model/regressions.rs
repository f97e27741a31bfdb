//! Schedules that once failed, as the test printed them.

use crate::harness::{A, B};
use crate::replay;
use crate::steps::{Step, Swarm};

/// Without large payloads, over a link that lasts.
const SMALL: Swarm = Swarm {
    calls: 99,
    running: 256,
    tight: false,
    alias: false,
    large: 0,
    transfers: 64,
    lost: false,
};

/// An OPEN was cancelled while its method ran, and was then answered with a handle that never settles.
#[test]
fn seed_559() {
    use Step::*;
    let swarm = Swarm {
        calls: 99,
        running: 256,
        tight: true,
        alias: true,
        ..SMALL
    };
    replay(
        &swarm,
        &[
            Call {
                by: A,
                on: 595348953,
                kind: 2372037094,
                give: 4056819409,
            },
            Call {
                by: B,
                on: 2947776717,
                kind: 187920251,
                give: 2957866492,
            },
            Call {
                by: A,
                on: 1589328590,
                kind: 2202633646,
                give: 2984419653,
            },
            Send { by: A },
            Call {
                by: A,
                on: 1076936554,
                kind: 2290179530,
                give: 1383665481,
            },
            Cancel {
                by: A,
                which: 2464961525,
            },
            Call {
                by: B,
                on: 4216662770,
                kind: 3718514638,
                give: 3329603689,
            },
            Call {
                by: A,
                on: 2946573190,
                kind: 1692267876,
                give: 3883127882,
            },
            Call {
                by: B,
                on: 1280394921,
                kind: 3220009901,
                give: 2158591566,
            },
            Deliver { to: B, n: 3 },
            Nested {
                by: B,
                run: 2368379595,
                on: 2763839142,
                kind: 3292644796,
                give: 3547356472,
            },
            Call {
                by: B,
                on: 300742641,
                kind: 1685791603,
                give: 80899227,
            },
            Call {
                by: A,
                on: 4231804435,
                kind: 3423129478,
                give: 2162258110,
            },
            Call {
                by: A,
                on: 2850472962,
                kind: 4231198651,
                give: 256385178,
            },
            Finish {
                by: B,
                run: 3630284922,
                how: 1972838208,
            },
            Send { by: A },
            Drop {
                by: A,
                which: 3446452158,
            },
            Deliver { to: B, n: 2 },
            Call {
                by: B,
                on: 1069882596,
                kind: 1139677990,
                give: 2728617610,
            },
            Cancel {
                by: B,
                which: 1156584732,
            },
            Finish {
                by: B,
                run: 3801610143,
                how: 4244836369,
            },
            Call {
                by: B,
                on: 3519533638,
                kind: 3490874376,
                give: 3964790715,
            },
        ],
    );
}

/// A held call gave back the last reference to the OPEN that it and others were held on: the others got GONE.
#[test]
fn seed_26() {
    use Step::*;
    let swarm = Swarm {
        calls: 99,
        running: 256,
        tight: false,
        alias: false,
        ..SMALL
    };
    replay(
        &swarm,
        &[
            Call {
                by: B,
                on: 1686297708,
                kind: 3160707175,
                give: 3102381784,
            },
            Call {
                by: B,
                on: 3321695600,
                kind: 3534307343,
                give: 2958962594,
            },
            Call {
                by: A,
                on: 141712679,
                kind: 1510709875,
                give: 117327995,
            },
            Call {
                by: A,
                on: 75955984,
                kind: 4253945214,
                give: 2078112754,
            },
            Call {
                by: B,
                on: 3387381634,
                kind: 2022266477,
                give: 857182440,
            },
            Call {
                by: A,
                on: 1640878437,
                kind: 2715653817,
                give: 1059939145,
            },
            Call {
                by: B,
                on: 511859003,
                kind: 3214575143,
                give: 445976729,
            },
            Call {
                by: A,
                on: 1170097731,
                kind: 1757320805,
                give: 1936099003,
            },
            Drop {
                by: B,
                which: 4215374894,
            },
            Call {
                by: A,
                on: 36891740,
                kind: 4266598341,
                give: 3289870746,
            },
            Call {
                by: B,
                on: 2806434829,
                kind: 2403306868,
                give: 3616933099,
            },
            Call {
                by: B,
                on: 2713304713,
                kind: 3618100139,
                give: 3887226163,
            },
            Call {
                by: A,
                on: 3840312689,
                kind: 910298020,
                give: 1720679946,
            },
            Call {
                by: A,
                on: 3455478406,
                kind: 270056865,
                give: 2059680101,
            },
            Call {
                by: B,
                on: 1739297402,
                kind: 2368089919,
                give: 557569760,
            },
            Call {
                by: B,
                on: 3452634222,
                kind: 366734037,
                give: 1784634085,
            },
            Call {
                by: B,
                on: 3642649497,
                kind: 1736761020,
                give: 2873392832,
            },
            Drop {
                by: B,
                which: 2708898209,
            },
        ],
    );
}

/// The abort of a cancelled call came behind the head that took its slot: one transfer too many (R18.7).
#[test]
fn seed_246() {
    use Step::*;
    let swarm = Swarm {
        tight: true,
        large: 4,
        transfers: 1,
        ..SMALL
    };
    replay(
        &swarm,
        &[
            Call {
                by: A,
                on: 3513558053,
                kind: 1309595326,
                give: 3536545119,
            },
            Call {
                by: B,
                on: 580409251,
                kind: 2545902069,
                give: 4070146431,
            },
            Send { by: B },
            Deliver { to: A, n: 3 },
            Finish {
                by: A,
                run: 39597769,
                how: 568528707,
            },
            Cancel {
                by: A,
                which: 2224703086,
            },
        ],
    );
}
