//! Object handles, and handles that mean something else after the token was away.

use std::collections::HashMap;
use std::ffi::c_void;

use cryptoki_sys::*;

use crate::calls::Context;
use crate::real::must;
use crate::state::state;

/// Which handle means which object, while handles are odd.
#[derive(Default)]
pub struct Objects {
    by_outer: HashMap<CK_OBJECT_HANDLE, (CK_OBJECT_HANDLE, Identity)>,
    by_real: HashMap<CK_OBJECT_HANDLE, CK_OBJECT_HANDLE>,
    /// What handles meant before the token was away.
    former: HashMap<CK_OBJECT_HANDLE, Identity>,
}

/// What makes an object the same one after the token was away.
#[derive(Default, PartialEq)]
struct Identity {
    class: CK_OBJECT_CLASS,
    key_type: CK_KEY_TYPE,
    id: Vec<u8>,
    label: Vec<u8>,
}

impl Objects {
    /// Handles of before may mean something else now.
    pub fn all_is_new(&mut self) {
        self.former.extend(self.by_outer.drain().map(|(outer, (_, identity))| (outer, identity)));
        self.by_real.clear();
    }

    fn real(&self, outer: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        match self.by_outer.get(&outer) {
            Some((real, _)) => *real,
            // Not in use again yet: no module has this one.
            None if self.former.contains_key(&outer) => CK_OBJECT_HANDLE::MAX,
            None => outer,
        }
    }

    /// The handle for an object: one that meant another object of its kind before, where there is one.
    fn outer(&mut self, real: CK_OBJECT_HANDLE, identity: Identity) -> CK_OBJECT_HANDLE {
        if let Some(outer) = self.by_real.get(&real) {
            return *outer;
        }
        let free = |outer: &CK_OBJECT_HANDLE| !self.by_outer.contains_key(outer);
        let another = self
            .former
            .iter()
            .filter(|(outer, former)| free(outer) && former.class == identity.class && **former != identity);
        // Of the same type, so that the wrong key works; the lowest, so that tests repeat.
        let another = another.min_by_key(|(outer, former)| (former.key_type != identity.key_type, **outer));
        let fresh = || (real..).find(|outer| free(outer) && !self.former.contains_key(outer));
        let outer = another.map(|(outer, _)| *outer).or_else(fresh).expect("handles enough");
        self.by_outer.insert(outer, (real, identity));
        self.by_real.insert(real, outer);
        outer
    }
}

impl Context {
    /// The real module's handle for the caller's.
    pub fn object(&self, outer: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        let odd = self.plan.traits.odd_handles;
        let real = if odd { state().objects.real(outer) } else { outer };
        if self.object.get().is_none() {
            self.object.set(Some(real));
        }
        real
    }

    /// Makes the real module's handle one for the caller.
    ///
    /// # Safety
    /// `handle` is null or has a handle of the real module.
    pub unsafe fn give(&self, handle: *mut CK_OBJECT_HANDLE) {
        if handle.is_null() || !self.plan.traits.odd_handles {
            return;
        }
        // SAFETY: not null, and as the caller says.
        let handle = unsafe { &mut *handle };
        let identity = self.identity(*handle);
        *handle = state().objects.outer(*handle, identity);
    }

    fn identity(&self, object: CK_OBJECT_HANDLE) -> Identity {
        Identity {
            class: self.class(object),
            key_type: number(&self.attribute(object, CKA_KEY_TYPE)),
            id: self.attribute(object, CKA_ID),
            label: self.attribute(object, CKA_LABEL),
        }
    }

    /// CKA_CLASS of a real object.
    pub fn class(&self, object: CK_OBJECT_HANDLE) -> CK_OBJECT_CLASS {
        number(&self.attribute(object, CKA_CLASS))
    }

    /// A short attribute of a real object; empty where it has none.
    fn attribute(&self, object: CK_OBJECT_HANDLE, type_: CK_ATTRIBUTE_TYPE) -> Vec<u8> {
        let mut value = vec![0_u8; 1024];
        let pointer = value.as_mut_ptr().cast::<c_void>();
        let mut attribute = CK_ATTRIBUTE { type_, pValue: pointer, ulValueLen: value.len() as CK_ULONG };
        // SAFETY: one attribute with a buffer of this length.
        let rv = unsafe { must!(C_GetAttributeValue)(self.session, object, &mut attribute, 1) };
        value.truncate(if rv == CKR_OK { attribute.ulValueLen as usize } else { 0 });
        value
    }
}

/// C_FindObjects.
pub unsafe fn find(
    context: &Context,
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    max: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    loop {
        // SAFETY: the caller's arguments.
        let rv = unsafe { must!(C_FindObjects)(session, objects, max, count) };
        if rv != CKR_OK {
            return rv;
        }
        // SAFETY: the real module has written so many.
        let (found, count) =
            unsafe { (std::slice::from_raw_parts_mut(objects, *count as usize), &mut *count) };
        let mut kept = 0;
        for at in 0..found.len() {
            let hidden = context.plan.traits.no_public_keys;
            if !hidden || context.class(found[at]) != CKO_PUBLIC_KEY {
                found[kept] = found[at];
                // SAFETY: a handle of the real module.
                unsafe { context.give(&mut found[kept]) };
                kept += 1;
            }
        }
        // None is the end; a batch of hidden ones is not.
        if kept > 0 || *count == 0 {
            *count = kept as CK_ULONG;
            return CKR_OK;
        }
    }
}

/// A number as attributes have it; 0 where there is none.
pub fn number(octets: &[u8]) -> CK_ULONG {
    octets.try_into().map_or(0, CK_ULONG::from_ne_bytes)
}
