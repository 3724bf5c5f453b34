//! How the shared library is linked: it cannot be unloaded. It has threads, handlers of fork and a handler of SIGBUS, which would be called
//! where there is no code any more.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
