//! What is under the applet: storage in files, randomness of this machine, and the backends that do the work.

use std::path::Path;

use rand_core::OsRng;
use trussed::backend::BackendId;
use trussed::pipe::{ServiceEndpoint, TrussedChannel};
use trussed::platform::Syscall;
use trussed::serde_extensions::{ExtensionDispatch, ExtensionId, ExtensionImpl};
use trussed::service::ServiceResources;
use trussed::types::{Context, CoreContext};
use trussed::virt::{StorageConfig, Store, StoreConfig, UserInterface};
use trussed::{ClientImplementation, Service, backend::Backend};
use trussed_auth::AuthExtension;
use trussed_auth_backend::{AuthBackend, AuthContext, FilesystemLayout};
use trussed_chunked::ChunkedExtension;
use trussed_core::Error;
use trussed_core::api::{Reply, Request, reply, request};
use trussed_core::types::Location;
use trussed_hpke::HpkeExtension;
use trussed_rsa_alloc::SoftwareRsa;
use trussed_staging::{StagingBackend, StagingContext};
use trussed_wrap_key_to_file::WrapKeyToFileExtension;

/// What the applet asks.
pub type Client<'a> = ClientImplementation<'a, AtOnce<'a>, Dispatch>;

/// Calls `run` with a client whose storage is in `dir`.
pub fn with_client<R>(dir: &Path, run: impl FnOnce(Client) -> R) -> R {
    let file = |name| StorageConfig::filesystem(dir.join(name));
    let mut files = StoreConfig {
        internal: file("internal.lfs"),
        external: file("external.lfs"),
        volatile: StorageConfig::ram(),
    };
    files.with_store(|store| {
        let channel = TrussedChannel::new();
        let (requester, responder) = channel.split().expect("it is new");
        let context = CoreContext::new("piv".try_into().expect("a short name"));
        let platform = Platform { store, random: OsRng, ui: UserInterface::new() };
        run(ClientImplementation::new(
            requester,
            AtOnce {
                service: Service::with_dispatch(platform, Dispatch::new()),
                endpoint: [ServiceEndpoint::new(responder, context, BACKENDS)],
            },
            None,
        ))
    })
}

/// Carries out a request before the client looks for its reply.
pub struct AtOnce<'a> {
    service: Service<Platform<'a>, Dispatch>,
    endpoint: [ServiceEndpoint<'a, Part, Contexts>; 1],
}

impl Syscall for AtOnce<'_> {
    fn syscall(&mut self) {
        self.service.process(&mut self.endpoint);
    }
}

/// Not trussed's own platform for tests: that has the same random numbers, and so the same keys, every time.
struct Platform<'a> {
    store: Store<'a>,
    random: OsRng,
    ui: UserInterface,
}

impl<'a> trussed::Platform for Platform<'a> {
    type R = OsRng;
    type S = Store<'a>;
    type UI = UserInterface;

    fn rng(&mut self) -> &mut OsRng {
        &mut self.random
    }

    fn store(&self) -> Store<'a> {
        self.store
    }

    fn user_interface(&mut self) -> &mut UserInterface {
        &mut self.ui
    }
}

/// What does the work, asked in this order.
const BACKENDS: &[BackendId<Part>] = &[
    BackendId::Custom(Part::Auth),
    BackendId::Custom(Part::Rsa),
    BackendId::Custom(Part::Staging),
    BackendId::Core,
];

pub enum Part {
    Auth,
    Rsa,
    Staging,
}

/// The numbers of the extensions are of our choice.
pub enum Extension {
    Auth = 0,
    Chunked = 1,
    Hpke = 2,
    WrapKeyToFile = 3,
}

impl From<Extension> for u8 {
    fn from(extension: Extension) -> Self {
        extension as u8
    }
}

impl TryFrom<u8> for Extension {
    type Error = Error;

    fn try_from(id: u8) -> Result<Self, Error> {
        [Self::Auth, Self::Chunked, Self::Hpke, Self::WrapKeyToFile]
            .into_iter()
            .nth(id.into())
            .ok_or(Error::FunctionNotSupported)
    }
}

impl ExtensionId<AuthExtension> for Dispatch {
    type Id = Extension;
    const ID: Extension = Extension::Auth;
}

impl ExtensionId<ChunkedExtension> for Dispatch {
    type Id = Extension;
    const ID: Extension = Extension::Chunked;
}

impl ExtensionId<HpkeExtension> for Dispatch {
    type Id = Extension;
    const ID: Extension = Extension::Hpke;
}

impl ExtensionId<WrapKeyToFileExtension> for Dispatch {
    type Id = Extension;
    const ID: Extension = Extension::WrapKeyToFile;
}

#[derive(Default)]
pub struct Contexts {
    auth: AuthContext,
    staging: StagingContext,
}

/// The backends.
pub struct Dispatch {
    auth: AuthBackend,
    staging: StagingBackend,
}

impl Dispatch {
    fn new() -> Self {
        Self {
            auth: AuthBackend::new(Location::Internal, FilesystemLayout::V1),
            staging: StagingBackend::new(),
        }
    }
}

impl ExtensionDispatch for Dispatch {
    type BackendId = Part;
    type Context = Contexts;
    type ExtensionId = Extension;

    fn core_request<P: trussed::Platform>(
        &mut self,
        part: &Part,
        context: &mut Context<Contexts>,
        request: &Request,
        resources: &mut ServiceResources<P>,
    ) -> Result<Reply, Error> {
        let (core, own) = (&mut context.core, &mut context.backends);
        match part {
            Part::Auth => self.auth.request(core, &mut own.auth, request, resources),
            Part::Rsa => SoftwareRsa.request(core, &mut (), request, resources),
            Part::Staging => self.staging.request(core, &mut own.staging, request, resources),
        }
    }

    fn extension_request<P: trussed::Platform>(
        &mut self,
        part: &Part,
        extension: &Extension,
        context: &mut Context<Contexts>,
        request: &request::SerdeExtension,
        resources: &mut ServiceResources<P>,
    ) -> Result<reply::SerdeExtension, Error> {
        let (core, own) = (&mut context.core, &mut context.backends);
        let (auth, staging) = (&mut self.auth, &mut self.staging);
        match (part, extension) {
            (Part::Auth, Extension::Auth) => {
                auth.extension_request_serialized(core, &mut own.auth, request, resources)
            }
            (Part::Staging, Extension::Chunked) => {
                ExtensionImpl::<ChunkedExtension>::extension_request_serialized(
                    staging,
                    core,
                    &mut own.staging,
                    request,
                    resources,
                )
            }
            (Part::Staging, Extension::Hpke) => ExtensionImpl::<HpkeExtension>::extension_request_serialized(
                staging,
                core,
                &mut own.staging,
                request,
                resources,
            ),
            (Part::Staging, Extension::WrapKeyToFile) => {
                ExtensionImpl::<WrapKeyToFileExtension>::extension_request_serialized(
                    staging,
                    core,
                    &mut own.staging,
                    request,
                    resources,
                )
            }
            _ => Err(Error::RequestNotAvailable),
        }
    }
}
