//! Every integration test, in one binary.

mod it {
    mod data;
    mod gate;
    mod ledger;
    mod models;
    mod ops;
    mod report;
}
