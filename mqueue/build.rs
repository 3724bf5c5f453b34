//! How the shared library is linked. It cannot be unloaded: it has threads, handlers of fork and a handler of SIGBUS, which would be called
//! where there is no code any more. And it calls its own functions where it calls exported names: with dlopen(3) the C library's `mq_setattr` would
//! be found before the one of `mq_getattr`'s own library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete,-Bsymbolic-functions");
}
