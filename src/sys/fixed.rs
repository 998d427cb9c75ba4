//! Memory that the kernel is given pointers into.

use std::ptr::NonNull;

/// An array at one place in memory, reached by raw pointers alone, so that those which the kernel's structures hold
/// stay valid whatever is borrowed here in between.
pub(crate) struct Fixed<T> {
    start: NonNull<T>,
    len: usize,
}

impl<T: Copy> Fixed<T> {
    pub(crate) fn new(value: T, len: usize) -> Self {
        let items = Box::into_raw(vec![value; len].into_boxed_slice());
        // A box is never null; a dangling pointer stands for one that holds nothing.
        Self { start: NonNull::new(items.cast()).unwrap_or(NonNull::dangling()), len }
    }

    /// Where element `i` and what follows it stand.
    pub(crate) fn pointer(&self, i: usize) -> *mut T {
        assert!(i < self.len, "inside the array");
        // SAFETY: inside the allocation, as asserted.
        unsafe { self.start.as_ptr().add(i) }
    }

    pub(crate) fn get(&self, i: usize) -> &T {
        // SAFETY: a live element; nothing writes to it while `self` is borrowed.
        unsafe { &*self.pointer(i) }
    }

    pub(crate) fn get_mut(&mut self, i: usize) -> &mut T {
        // SAFETY: a live element, reached by nobody else while `self` is borrowed mutably.
        unsafe { &mut *self.pointer(i) }
    }
}

impl<T> Drop for Fixed<T> {
    fn drop(&mut self) {
        // SAFETY: the very allocation that `new` has taken apart.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len)) });
    }
}
