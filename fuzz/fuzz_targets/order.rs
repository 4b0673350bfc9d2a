//! The order of windows, an `.npy` file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::data::batches::Order;
use v5gate_fuzz::with_file;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(order) = with_file("order.npy", bytes, Order::load_npy) {
        assert_eq!(order.windows().len(), order.len());
    }
});
