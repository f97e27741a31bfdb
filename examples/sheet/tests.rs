//! The sheet over a real connection, and its file. It connects as a program does; that tables end empty is shown
//! where the harness is.

use super::*;

async fn served() -> (Shared<Sheet>, String) {
    let sheet = Shared::new(book::load(&elements()).expect("the file is there"));
    let server = bind("ws://127.0.0.1:0", sheet.clone())
        .await
        .expect("binds");
    let url = server.url().to_owned();
    tokio::spawn(server.run());
    (sheet, url)
}

#[tokio::test]
async fn notes_of_three_people_cost_less_than_a_twentieth_of_whole_sheets() {
    let (sheet, url) = served().await;
    let (ann, bob, cem) = tokio::try_join!(
        annotate(&url, "Ann", 0),
        annotate(&url, "Bob", 1),
        annotate(&url, "Cem", 2),
    )
    .expect("all write");
    for cost in [ann, bob, cem] {
        assert!(cost.revisions >= 39, "{cost:?}");
        assert!(
            cost.delta_bytes * 20 < cost.revisions * cost.sheet_bytes,
            "{cost:?}"
        );
    }
    let written = sheet.read(|sheet| sheet.writes.get()).await.expect("here");
    assert_eq!(written, 118);
}

#[tokio::test]
async fn a_cell_that_is_not_there_is_refused_and_nothing_changes() {
    let (sheet, url) = served().await;
    // harness: the example is tested as it is used
    let book: BookHandle = helve::connect(&url).await.expect("connects");
    let before = sheet.read(Sheet::clone).await.expect("here");
    let refused = book.write(1000, 0, "x".into()).await;
    assert_eq!(refused, Err(CallError::App(SheetError::NoRow(1000))));
    let refused = book.write(0, 99, "x".into()).await;
    assert_eq!(refused, Err(CallError::App(SheetError::NoColumn(99))));
    assert_eq!(sheet.read(Sheet::clone).await.expect("here"), before);
}

#[tokio::test]
async fn a_sheet_that_was_sorted_and_saved_reads_back() {
    let (sheet, url) = served().await;
    // harness: the example is tested as it is used
    let book: BookHandle = helve::connect(&url).await.expect("connects");
    let replica = book
        .sheet()
        .await
        .expect("a sheet")
        .replica()
        .await
        .expect("follows");
    book.sort(2).await.expect("sorts");
    assert_eq!(
        replica.read(|sheet| sheet.rows[0][2].clone()),
        Ok("Actinium".into())
    );
    book.sort(0).await.expect("sorts");
    assert_eq!(
        replica.read(|sheet| sheet.rows[117][1].clone()),
        Ok("Og".into())
    );
    let file = std::env::temp_dir().join(format!("helve-sheet-{}.csv", std::process::id()));
    sheet
        .read(|sheet| book::save(sheet, &file).expect("saves"))
        .await
        .expect("here");
    let read = book::load(&file).expect("reads back");
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(
        read.rows,
        sheet.read(|sheet| sheet.rows.clone()).await.expect("here")
    );
}
