//! Attributes: what is read is changed, what is set is refused.

use std::ffi::c_void;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::calls::Context;
use crate::objects::number;
use crate::real::must;

/// C_GetAttributeValue.
pub unsafe fn read(
    context: &Context,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let traits = &context.plan.traits;
    // SAFETY: the caller's template and its length.
    let asked = unsafe { attributes(template, count) };
    // The point is read here, since the caller's buffer is for a shorter one.
    let raw = |attribute: &CK_ATTRIBUTE| traits.raw_ec_point && attribute.type_ == CKA_EC_POINT;
    let mut point = vec![0_u8; 1024];
    let mut ours: Vec<CK_ATTRIBUTE> = asked.to_vec();
    for attribute in ours.iter_mut().filter(|attribute| raw(attribute)) {
        attribute.pValue = point.as_mut_ptr().cast::<c_void>();
        attribute.ulValueLen = point.len() as CK_ULONG;
    }
    // SAFETY: the caller's buffers, and ours.
    let mut rv = unsafe { must!(C_GetAttributeValue)(session, object, ours.as_mut_ptr(), count) };
    for (attribute, ours) in asked.iter_mut().zip(&ours) {
        let room = std::mem::replace(&mut attribute.ulValueLen, ours.ulValueLen);
        let there = ours.ulValueLen != CK_UNAVAILABLE_INFORMATION;
        if raw(attribute) && there {
            let point = without_header(&point[..ours.ulValueLen as usize]);
            attribute.ulValueLen = point.len() as CK_ULONG;
            if !attribute.pValue.is_null() && room < attribute.ulValueLen {
                attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
                rv = CKR_BUFFER_TOO_SMALL;
            } else if !attribute.pValue.is_null() {
                // SAFETY: the caller's buffer has room for it, and is not ours.
                unsafe {
                    attribute.pValue.cast::<u8>().copy_from_nonoverlapping(point.as_ptr(), point.len())
                };
            }
        }
        let says = traits.always_authenticate.filter(|_| attribute.type_ == CKA_ALWAYS_AUTHENTICATE);
        if let (Some(says), true, false) = (says, there, attribute.pValue.is_null()) {
            // SAFETY: the real module has written one there.
            unsafe { attribute.pValue.cast::<CK_BBOOL>().write(says.into()) };
        }
    }
    rv
}

/// Why the token does not take a template.
///
/// # Safety
/// As for functions that take one.
pub unsafe fn refused(context: &Context, template: *mut CK_ATTRIBUTE, count: CK_ULONG) -> Option<CK_RV> {
    let traits = &context.plan.traits;
    // SAFETY: as the caller says.
    let template = unsafe { attributes(template, count) };
    if template.iter().any(|attribute| traits.refused.contains(&attribute.type_)) {
        return Some(CKR_ATTRIBUTE_TYPE_INVALID);
    }
    let mut id = *template.iter().find(|attribute| attribute.type_ == CKA_ID).filter(|_| traits.unique_id)?;
    let itself = context.object.get().filter(|_| context.function == "C_SetAttributeValue");
    let copied = context.object.get().filter(|_| context.function == "C_CopyObject");
    let class = match template.iter().find(|attribute| attribute.type_ == CKA_CLASS) {
        Some(class) => {
            // SAFETY: the caller's value and its length.
            let class = unsafe { std::slice::from_raw_parts(class.pValue.cast(), class.ulValueLen as usize) };
            number(class)
        }
        None => itself.or(copied).map_or(CKO_PRIVATE_KEY, |object| context.class(object)),
    };
    let taken = with_id(context, class, &mut id).into_iter().any(|object| Some(object) != itself);
    taken.then_some(CKR_ATTRIBUTE_VALUE_INVALID)
}

/// Objects of a class with this CKA_ID. They are looked for in a session of their own: in the caller's,
/// another search may be under way.
fn with_id(context: &Context, class: CK_OBJECT_CLASS, id: &mut CK_ATTRIBUTE) -> Vec<CK_OBJECT_HANDLE> {
    let mut class = class;
    let value = (&raw mut class).cast::<c_void>();
    let len = size_of::<CK_OBJECT_CLASS>() as CK_ULONG;
    let mut template = [CK_ATTRIBUTE { type_: CKA_CLASS, pValue: value, ulValueLen: len }, *id];
    let mut info = CK_SESSION_INFO::default();
    let mut session = 0;
    let (mut found, mut count) = (vec![0; 2], 0);
    // SAFETY: pointers to locals, and the caller's CKA_ID.
    unsafe {
        if must!(C_GetSessionInfo)(context.session, &mut info) != CKR_OK {
            return Vec::new();
        }
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        if must!(C_OpenSession)(info.slotID, flags, null_mut(), None, &mut session) != CKR_OK {
            return Vec::new();
        }
        must!(C_FindObjectsInit)(session, template.as_mut_ptr(), 2);
        must!(C_FindObjects)(session, found.as_mut_ptr(), 2, &mut count);
        must!(C_CloseSession)(session);
    }
    found.truncate(count as usize);
    found
}

/// # Safety
/// `template` is null or has `count` attributes.
unsafe fn attributes<'a>(template: *mut CK_ATTRIBUTE, count: CK_ULONG) -> &'a mut [CK_ATTRIBUTE] {
    if template.is_null() {
        return &mut [];
    }
    // SAFETY: as the caller says.
    unsafe { std::slice::from_raw_parts_mut(template, count as usize) }
}

/// What is in an OCTET STRING of fewer than 256 octets.
fn without_header(point: &[u8]) -> &[u8] {
    match point {
        [4, 0x81, len, point @ ..] if *len as usize == point.len() => point,
        [4, len, point @ ..] if *len as usize == point.len() => point,
        _ => point,
    }
}
