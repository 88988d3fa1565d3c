//! Programs that try to break out of what their service confines them to.
