//! The ledger over a real connection. It connects as a program does; that tables end empty is shown where the harness is.

use super::*;

async fn bank(days: u32) -> BankHandle {
    let url = served(days).await.expect("binds");
    // harness: the example is tested as it is used
    helve::connect(url).await.expect("connects")
}

#[tokio::test]
async fn only_the_first_day_sends_the_ledger() {
    let bank = bank(3).await;
    let mut ours = Tracked::new(ledger(10_000));
    let (first, whole) = day(&bank, &mut ours, 0).await.expect("works");
    assert!(whole.up > 300_000 && whole.down < 4_000, "{whole:?}");
    for today in 1..3 {
        let (matched, cost) = day(&bank, &mut ours, today).await.expect("works");
        assert!(
            matched > 30 && cost.up < 300 && cost.down < 2_000,
            "{cost:?}"
        );
    }
    let paid = ours
        .invoices
        .iter()
        .filter(|invoice| invoice.paid_on.is_some());
    assert!(first > 30 && paid.count() > 90);
}

#[tokio::test]
async fn a_day_without_a_statement_leaves_the_ledger_as_it_was() {
    let bank = bank(0).await;
    let mut ours = Tracked::new(ledger(1_000));
    let (before, rev) = ((*ours).clone(), ours.rev());
    let failed = bank.reconcile(&mut ours, 5).await;
    assert_eq!(failed, Err(CallError::App(BankError::NoStatement(5))));
    assert_eq!((&*ours, ours.rev()), (&before, rev));
}
