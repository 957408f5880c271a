use std::fmt;

/// What a permissions policy switches off or leaves to some
/// ([the list of features](https://github.com/w3c/webappsec-permissions-policy/blob/main/features.md)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// `accelerometer`: the accelerometer.
    Accelerometer,
    /// `all-screens-capture`: capturing all screens.
    AllScreensCapture,
    /// `ambient-light-sensor`: the ambient light sensor.
    AmbientLightSensor,
    /// `attribution-reporting`: measuring conversions.
    AttributionReporting,
    /// `autofill`: filling in forms.
    Autofill,
    /// `autoplay`: playing media that nobody has started.
    Autoplay,
    /// `battery`: the state of the battery.
    Battery,
    /// `bluetooth`: Bluetooth devices.
    Bluetooth,
    /// `browsing-topics`: topics of interest.
    BrowsingTopics,
    /// `camera`: cameras.
    Camera,
    /// `captured-surface-control`: scrolling and zooming what is captured.
    CapturedSurfaceControl,
    /// `clipboard-read`: reading the clipboard.
    ClipboardRead,
    /// `clipboard-write`: writing to the clipboard.
    ClipboardWrite,
    /// `compute-pressure`: how busy the processor is.
    ComputePressure,
    /// `cross-origin-isolated`: being isolated from other origins.
    CrossOriginIsolated,
    /// `deferred-fetch`: requests after the page is left.
    DeferredFetch,
    /// `digital-credentials-create`: issuing digital credentials.
    DigitalCredentialsCreate,
    /// `digital-credentials-get`: asking for digital credentials.
    DigitalCredentialsGet,
    /// `direct-sockets`: TCP and UDP.
    DirectSockets,
    /// `display-capture`: capturing the screen.
    DisplayCapture,
    /// `encrypted-media`: encrypted media.
    EncryptedMedia,
    /// `execution-while-not-rendered`: running in frames that are not rendered.
    ExecutionWhileNotRendered,
    /// `execution-while-out-of-viewport`: running in frames out of sight.
    ExecutionWhileOutOfViewport,
    /// `focus-without-user-activation`: taking the focus.
    FocusWithoutUserActivation,
    /// `fullscreen`: the whole screen.
    Fullscreen,
    /// `gamepad`: gamepads.
    Gamepad,
    /// `geolocation`: where the user is.
    Geolocation,
    /// `gyroscope`: the gyroscope.
    Gyroscope,
    /// `hid`: human interface devices.
    Hid,
    /// `identity-credentials-get`: federated log-ins.
    IdentityCredentialsGet,
    /// `idle-detection`: whether the user is there.
    IdleDetection,
    /// `join-ad-interest-group`: joining interest groups.
    JoinAdInterestGroup,
    /// `keyboard-map`: the layout of the keyboard.
    KeyboardMap,
    /// `language-detector`: detecting languages.
    LanguageDetector,
    /// `language-model`: language models.
    LanguageModel,
    /// `local-fonts`: fonts that are installed.
    LocalFonts,
    /// `local-network-access`: devices of the local network.
    LocalNetworkAccess,
    /// `magnetometer`: the magnetometer.
    Magnetometer,
    /// `mediasession`: controls for media.
    Mediasession,
    /// `microphone`: microphones.
    Microphone,
    /// `midi`: MIDI devices.
    Midi,
    /// `monetization`: web monetization.
    Monetization,
    /// `navigation-override`: spatial navigation.
    NavigationOverride,
    /// `on-device-speech-recognition`: recognising speech.
    OnDeviceSpeechRecognition,
    /// `otp-credentials`: one-time passwords.
    OtpCredentials,
    /// `payment`: payment requests.
    Payment,
    /// `picture-in-picture`: pictures in pictures.
    PictureInPicture,
    /// `private-state-token-issuance`: issuing private state tokens.
    PrivateStateTokenIssuance,
    /// `private-state-token-redemption`: redeeming private state tokens.
    PrivateStateTokenRedemption,
    /// `publickey-credentials-create`: making passkeys.
    PublickeyCredentialsCreate,
    /// `publickey-credentials-get`: using passkeys.
    PublickeyCredentialsGet,
    /// `rewriter`: rewriting texts.
    Rewriter,
    /// `run-ad-auction`: auctions for advertisements.
    RunAdAuction,
    /// `screen-wake-lock`: keeping the screen on.
    ScreenWakeLock,
    /// `serial`: serial ports.
    Serial,
    /// `smart-card`: smart cards.
    SmartCard,
    /// `speaker-selection`: choosing speakers.
    SpeakerSelection,
    /// `storage-access`: cookies of third parties.
    StorageAccess,
    /// `summarizer`: summarising texts.
    Summarizer,
    /// `sync-script`: scripts that block.
    SyncScript,
    /// `sync-xhr`: requests that block.
    SyncXhr,
    /// `translator`: translating texts.
    Translator,
    /// `unload`: handlers of `unload`.
    Unload,
    /// `usb`: USB devices.
    Usb,
    /// `vertical-scroll`: vertical scrolling.
    VerticalScroll,
    /// `web-share`: sharing.
    WebShare,
    /// `window-management`: several screens.
    WindowManagement,
    /// `writer`: writing texts.
    Writer,
    /// `xr-spatial-tracking`: WebXR.
    XrSpatialTracking,
    /// One that is not in this list. Its characters are checked, not whether browsers know it.
    Custom(&'static str),
}

impl Feature {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Custom(name) => name,
            known => {
                let found = FEATURES.iter().find(|(feature, _)| *feature == known);
                found.map_or("", |(_, name)| name)
            }
        }
    }

    pub(super) fn is_known(name: &str) -> bool {
        FEATURES.iter().any(|(_, known)| *known == name)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const FEATURES: [(Feature, &str); 69] = [
    (Feature::Accelerometer, "accelerometer"),
    (Feature::AllScreensCapture, "all-screens-capture"),
    (Feature::AmbientLightSensor, "ambient-light-sensor"),
    (Feature::AttributionReporting, "attribution-reporting"),
    (Feature::Autofill, "autofill"),
    (Feature::Autoplay, "autoplay"),
    (Feature::Battery, "battery"),
    (Feature::Bluetooth, "bluetooth"),
    (Feature::BrowsingTopics, "browsing-topics"),
    (Feature::Camera, "camera"),
    (Feature::CapturedSurfaceControl, "captured-surface-control"),
    (Feature::ClipboardRead, "clipboard-read"),
    (Feature::ClipboardWrite, "clipboard-write"),
    (Feature::ComputePressure, "compute-pressure"),
    (Feature::CrossOriginIsolated, "cross-origin-isolated"),
    (Feature::DeferredFetch, "deferred-fetch"),
    (Feature::DigitalCredentialsCreate, "digital-credentials-create"),
    (Feature::DigitalCredentialsGet, "digital-credentials-get"),
    (Feature::DirectSockets, "direct-sockets"),
    (Feature::DisplayCapture, "display-capture"),
    (Feature::EncryptedMedia, "encrypted-media"),
    (Feature::ExecutionWhileNotRendered, "execution-while-not-rendered"),
    (Feature::ExecutionWhileOutOfViewport, "execution-while-out-of-viewport"),
    (Feature::FocusWithoutUserActivation, "focus-without-user-activation"),
    (Feature::Fullscreen, "fullscreen"),
    (Feature::Gamepad, "gamepad"),
    (Feature::Geolocation, "geolocation"),
    (Feature::Gyroscope, "gyroscope"),
    (Feature::Hid, "hid"),
    (Feature::IdentityCredentialsGet, "identity-credentials-get"),
    (Feature::IdleDetection, "idle-detection"),
    (Feature::JoinAdInterestGroup, "join-ad-interest-group"),
    (Feature::KeyboardMap, "keyboard-map"),
    (Feature::LanguageDetector, "language-detector"),
    (Feature::LanguageModel, "language-model"),
    (Feature::LocalFonts, "local-fonts"),
    (Feature::LocalNetworkAccess, "local-network-access"),
    (Feature::Magnetometer, "magnetometer"),
    (Feature::Mediasession, "mediasession"),
    (Feature::Microphone, "microphone"),
    (Feature::Midi, "midi"),
    (Feature::Monetization, "monetization"),
    (Feature::NavigationOverride, "navigation-override"),
    (Feature::OnDeviceSpeechRecognition, "on-device-speech-recognition"),
    (Feature::OtpCredentials, "otp-credentials"),
    (Feature::Payment, "payment"),
    (Feature::PictureInPicture, "picture-in-picture"),
    (Feature::PrivateStateTokenIssuance, "private-state-token-issuance"),
    (Feature::PrivateStateTokenRedemption, "private-state-token-redemption"),
    (Feature::PublickeyCredentialsCreate, "publickey-credentials-create"),
    (Feature::PublickeyCredentialsGet, "publickey-credentials-get"),
    (Feature::Rewriter, "rewriter"),
    (Feature::RunAdAuction, "run-ad-auction"),
    (Feature::ScreenWakeLock, "screen-wake-lock"),
    (Feature::Serial, "serial"),
    (Feature::SmartCard, "smart-card"),
    (Feature::SpeakerSelection, "speaker-selection"),
    (Feature::StorageAccess, "storage-access"),
    (Feature::Summarizer, "summarizer"),
    (Feature::SyncScript, "sync-script"),
    (Feature::SyncXhr, "sync-xhr"),
    (Feature::Translator, "translator"),
    (Feature::Unload, "unload"),
    (Feature::Usb, "usb"),
    (Feature::VerticalScroll, "vertical-scroll"),
    (Feature::WebShare, "web-share"),
    (Feature::WindowManagement, "window-management"),
    (Feature::Writer, "writer"),
    (Feature::XrSpatialTracking, "xr-spatial-tracking"),
];
