//! The examples of the library: `cargo run --example NAME` runs them, too.

mod custom_operator;
mod custom_pass;
mod host_ir;
mod plan_devices;
mod verify_in_tests;

#[test]
fn all_of_them_work() {
    custom_operator::main().unwrap();
    custom_pass::main().unwrap();
    host_ir::main().unwrap();
    plan_devices::main().unwrap();
    verify_in_tests::main().unwrap();
}
