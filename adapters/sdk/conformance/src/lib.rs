//! The suite that checks what an adapter claims, on the component itself.
