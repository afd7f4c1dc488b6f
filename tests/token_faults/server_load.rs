//! Many devices enrol at once while faults come and go.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::scene::Scene;
use super::support::device::Device;
use super::*;

#[test]
fn many_devices_enrol() {
    let faults = [faults(), vec![Rule::new("C_Sign").after(2).hangs()]].concat();
    under_load(&[], &faults);
}

#[test]
fn many_devices_enrol_at_an_isolated_module() {
    let ends = [Rule::new("C_Sign").after(2).aborts(), Rule::new("C_Decrypt").after(2).exits(0)];
    under_load(&["module isolated"], &[&faults()[..], &ends].concat());
}

fn faults() -> Vec<Rule> {
    vec![
        Rule::new("C_Sign").after(2).times(3).returns("CKR_SESSION_HANDLE_INVALID"),
        Rule::new("C_Decrypt").after(2).times(5).returns("CKR_DEVICE_ERROR"),
        Rule::new("C_Sign").after(2).times(9).corrupts(),
        Rule::new("C_Sign").after(1).times(3).returns("CKR_USER_NOT_LOGGED_IN"),
        Rule::new("C_Sign").after(1).vanishes(),
        Rule::new("C_SignInit").after(1).makes_login_stale(),
        Rule::new("C_Decrypt").makes_finalize_needed(),
        Rule::new("*").after(9).times(30).returns("CKR_GENERAL_ERROR"),
    ]
}

fn under_load(token: &[&str], faults: &[Rule]) {
    let scene = Scene::new(token);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..DEVICES {
            let (scene, done) = (&scene, &done);
            scope.spawn(move || {
                let device = Device::new(&format!("CN=device {number}"));
                scene.enrols(&device);
                scene.enrols(&device);
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        for fault in faults.iter().cycle() {
            if done.load(Ordering::Relaxed) == DEVICES {
                break;
            }
            scene.ca.faulty().plan(std::slice::from_ref(fault));
            std::thread::sleep(Duration::from_millis(300));
            scene.ca.faulty().clear();
            std::thread::sleep(Duration::from_millis(700));
        }
    });
    scene.ca.faulty().clear();
    scene.ends(DEVICES);
}

const DEVICES: usize = 20;
