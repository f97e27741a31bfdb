//! Handles as arguments: given by value, lent by reference.

use std::sync::Mutex;

use helve::prelude::*;

use crate::both;

#[interface]
pub trait Viewer {
    async fn changed(&self, total: u64) -> u64;
}

/// A value with a handle inside.
#[derive(Wire, Clone)]
pub struct Seat {
    pub row: u32,
    pub viewer: Option<ViewerHandle>,
}

#[derive(Wire, Clone)]
pub enum Place<T> {
    Nowhere,
    Seat(Seat),
    Box { seats: Vec<T>, number: u8 },
}

#[interface]
pub trait House {
    async fn keep(&self, viewer: ViewerHandle);
    async fn peek(&self, viewer: &ViewerHandle) -> u64;
    async fn peek_all(&self, viewers: &[ViewerHandle]) -> u64;
    async fn sit(&self, seat: &Seat) -> u64;
    async fn place(&self, place: &Place<Seat>) -> u64;
    /// Keeps what was only lent.
    async fn steal(&self, seat: &Seat);
    async fn give(&self, seat: Seat);
    async fn call_kept(&self) -> Result<u64, Lost>;
    /// Gives away what was only lent.
    async fn pass_on(&self, viewer: &ViewerHandle, to: &HouseHandle) -> bool;
}

#[derive(Wire, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(String);

struct Twice;

impl Viewer for Twice {
    async fn changed(&self, total: u64) -> u64 {
        tokio::task::yield_now().await;
        total * 2
    }
}

#[derive(Default)]
struct Hall(Mutex<Vec<ViewerHandle>>);

impl House for Hall {
    async fn keep(&self, viewer: ViewerHandle) {
        self.0.lock().expect("no panic").push(viewer);
    }
    async fn peek(&self, viewer: &ViewerHandle) -> u64 {
        viewer.changed(3).await.expect("usable during the call")
    }
    async fn peek_all(&self, viewers: &[ViewerHandle]) -> u64 {
        let mut sum = 0;
        for viewer in viewers {
            sum += viewer.changed(1).await.expect("usable during the call");
        }
        sum
    }
    async fn sit(&self, seat: &Seat) -> u64 {
        match &seat.viewer {
            Some(viewer) => viewer
                .changed(seat.row.into())
                .await
                .expect("usable during the call"),
            None => 0,
        }
    }
    async fn place(&self, place: &Place<Seat>) -> u64 {
        let seats = match place {
            Place::Nowhere => Vec::new(),
            Place::Seat(seat) => vec![seat.clone()],
            Place::Box { seats, .. } => seats.clone(),
        };
        self.0
            .lock()
            .expect("no panic")
            .extend(seats.iter().filter_map(|seat| seat.viewer.clone()));
        seats.len() as u64
    }
    async fn steal(&self, seat: &Seat) {
        self.0.lock().expect("no panic").extend(seat.viewer.clone());
    }
    async fn give(&self, seat: Seat) {
        self.0.lock().expect("no panic").extend(seat.viewer);
    }
    async fn call_kept(&self) -> Result<u64, Lost> {
        let viewer = self
            .0
            .lock()
            .expect("no panic")
            .pop()
            .ok_or_else(|| Lost("nobody".into()))?;
        viewer
            .changed(5)
            .await
            .map_err(|error| Lost(format!("{error:?}")))
    }
    async fn pass_on(&self, viewer: &ViewerHandle, to: &HouseHandle) -> bool {
        matches!(to.keep(viewer.clone()).await, Err(RpcError::Encode(text)) if text.contains("lent"))
    }
}

#[tokio::test]
async fn a_given_handle_stays_and_a_lent_one_dies_with_the_call() {
    both(HouseHandle::new(Hall::default()), |house| async move {
        let viewer = ViewerHandle::new(Twice);
        house.keep(viewer.clone()).await.expect("runs");
        assert_eq!(house.call_kept().await, Ok(10));
        assert_eq!(house.peek(&viewer).await.expect("runs"), 6);
        assert_eq!(
            house
                .peek_all(&[viewer.clone(), viewer.clone()])
                .await
                .expect("runs"),
            4
        );

        let seat = Seat {
            row: 7,
            viewer: Some(viewer.clone()),
        };
        assert_eq!(house.sit(&seat).await.expect("runs"), 14);
        house.give(seat.clone()).await.expect("runs");
        assert_eq!(house.call_kept().await, Ok(10));

        house.steal(&seat).await.expect("runs");
        assert_eq!(
            house.call_kept().await,
            Err(CallError::App(Lost("Expired".into())))
        );
        let places = [
            Place::Nowhere,
            Place::Seat(seat.clone()),
            Place::Box {
                seats: vec![seat.clone()],
                number: 1,
            },
        ];
        for (place, seats) in places.iter().zip([0, 1, 1]) {
            assert_eq!(house.place(place).await.expect("runs"), seats);
            if seats > 0 {
                assert_eq!(
                    house.call_kept().await,
                    Err(CallError::App(Lost("Expired".into())))
                );
            }
        }
        // The caller's own is as it was.
        assert_eq!(seat.viewer.as_ref().expect("there").changed(1).await, Ok(2));
    })
    .await;
}

#[tokio::test]
async fn a_lent_handle_cannot_be_given_away() {
    let other = HouseHandle::new(Hall::default());
    let viewer = ViewerHandle::new(Twice);
    let house = HouseHandle::new(Hall::default());
    assert!(
        crate::limited(house.pass_on(&viewer, &other))
            .await
            .expect("runs")
    );
    let (far, harness) = crate::remote(&house).await;
    assert!(
        crate::limited(far.pass_on(&viewer, &other))
            .await
            .expect("runs")
    );
    drop(far);
    crate::limited(harness.finish()).await;
}
