//! Every integration test, in one binary.

mod it {
    mod models;
    mod ops;
}
