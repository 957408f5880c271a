use std::fmt;

use super::error::InvalidHeader;
use super::structured::is_key;

/// A browser feature that a permissions policy controls
/// ([list of features](https://github.com/w3c/webappsec-permissions-policy/blob/main/features.md)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Feature(&'static str);

impl Feature {
    /// `accelerometer`: access to the accelerometer.
    pub const ACCELEROMETER: Self = Self("accelerometer");
    /// `all-screens-capture`: capturing all screens at once.
    pub const ALL_SCREENS_CAPTURE: Self = Self("all-screens-capture");
    /// `ambient-light-sensor`: access to the ambient light sensor.
    pub const AMBIENT_LIGHT_SENSOR: Self = Self("ambient-light-sensor");
    /// `attribution-reporting`: measuring conversions of advertisements.
    pub const ATTRIBUTION_REPORTING: Self = Self("attribution-reporting");
    /// `autofill`: filling in forms automatically.
    pub const AUTOFILL: Self = Self("autofill");
    /// `autoplay`: playing media without a gesture of the user.
    pub const AUTOPLAY: Self = Self("autoplay");
    /// `battery`: the state of the battery.
    pub const BATTERY: Self = Self("battery");
    /// `bluetooth`: access to Bluetooth devices.
    pub const BLUETOOTH: Self = Self("bluetooth");
    /// `browsing-topics`: topics of interest of the user.
    pub const BROWSING_TOPICS: Self = Self("browsing-topics");
    /// `camera`: access to cameras.
    pub const CAMERA: Self = Self("camera");
    /// `captured-surface-control`: scrolling and zooming a captured surface.
    pub const CAPTURED_SURFACE_CONTROL: Self = Self("captured-surface-control");
    /// `clipboard-read`: reading the clipboard.
    pub const CLIPBOARD_READ: Self = Self("clipboard-read");
    /// `clipboard-write`: writing to the clipboard.
    pub const CLIPBOARD_WRITE: Self = Self("clipboard-write");
    /// `compute-pressure`: the load of the processor.
    pub const COMPUTE_PRESSURE: Self = Self("compute-pressure");
    /// `cross-origin-isolated`: isolation from other origins.
    pub const CROSS_ORIGIN_ISOLATED: Self = Self("cross-origin-isolated");
    /// `deferred-fetch`: requests after the page is left.
    pub const DEFERRED_FETCH: Self = Self("deferred-fetch");
    /// `digital-credentials-create`: issuing digital credentials.
    pub const DIGITAL_CREDENTIALS_CREATE: Self = Self("digital-credentials-create");
    /// `digital-credentials-get`: requesting digital credentials.
    pub const DIGITAL_CREDENTIALS_GET: Self = Self("digital-credentials-get");
    /// `direct-sockets`: TCP and UDP sockets.
    pub const DIRECT_SOCKETS: Self = Self("direct-sockets");
    /// `display-capture`: capturing the screen.
    pub const DISPLAY_CAPTURE: Self = Self("display-capture");
    /// `encrypted-media`: playing encrypted audio and video.
    pub const ENCRYPTED_MEDIA: Self = Self("encrypted-media");
    /// `execution-while-not-rendered`: scripts of frames that are not rendered.
    pub const EXECUTION_WHILE_NOT_RENDERED: Self = Self("execution-while-not-rendered");
    /// `execution-while-out-of-viewport`: scripts of frames that are out of view.
    pub const EXECUTION_WHILE_OUT_OF_VIEWPORT: Self = Self("execution-while-out-of-viewport");
    /// `focus-without-user-activation`: taking the focus without a gesture of the user.
    pub const FOCUS_WITHOUT_USER_ACTIVATION: Self = Self("focus-without-user-activation");
    /// `fullscreen`: the fullscreen mode.
    pub const FULLSCREEN: Self = Self("fullscreen");
    /// `gamepad`: access to gamepads.
    pub const GAMEPAD: Self = Self("gamepad");
    /// `geolocation`: the location of the user.
    pub const GEOLOCATION: Self = Self("geolocation");
    /// `gyroscope`: access to the gyroscope.
    pub const GYROSCOPE: Self = Self("gyroscope");
    /// `hid`: access to human interface devices.
    pub const HID: Self = Self("hid");
    /// `identity-credentials-get`: federated sign-in by the browser.
    pub const IDENTITY_CREDENTIALS_GET: Self = Self("identity-credentials-get");
    /// `idle-detection`: the presence of the user.
    pub const IDLE_DETECTION: Self = Self("idle-detection");
    /// `join-ad-interest-group`: joining interest groups.
    pub const JOIN_AD_INTEREST_GROUP: Self = Self("join-ad-interest-group");
    /// `keyboard-map`: the layout of the keyboard.
    pub const KEYBOARD_MAP: Self = Self("keyboard-map");
    /// `language-detector`: detecting the language of texts.
    pub const LANGUAGE_DETECTOR: Self = Self("language-detector");
    /// `language-model`: prompts to a model on the device.
    pub const LANGUAGE_MODEL: Self = Self("language-model");
    /// `local-fonts`: the installed fonts.
    pub const LOCAL_FONTS: Self = Self("local-fonts");
    /// `local-network-access`: devices of the local network.
    pub const LOCAL_NETWORK_ACCESS: Self = Self("local-network-access");
    /// `magnetometer`: access to the magnetometer.
    pub const MAGNETOMETER: Self = Self("magnetometer");
    /// `mediasession`: controls for media.
    pub const MEDIASESSION: Self = Self("mediasession");
    /// `microphone`: access to microphones.
    pub const MICROPHONE: Self = Self("microphone");
    /// `midi`: access to MIDI devices.
    pub const MIDI: Self = Self("midi");
    /// `monetization`: payments by web monetization.
    pub const MONETIZATION: Self = Self("monetization");
    /// `navigation-override`: control of spatial navigation.
    pub const NAVIGATION_OVERRIDE: Self = Self("navigation-override");
    /// `on-device-speech-recognition`: speech recognition on the device.
    pub const ON_DEVICE_SPEECH_RECOGNITION: Self = Self("on-device-speech-recognition");
    /// `otp-credentials`: reading one-time passwords.
    pub const OTP_CREDENTIALS: Self = Self("otp-credentials");
    /// `payment`: payments by the Payment Request API.
    pub const PAYMENT: Self = Self("payment");
    /// `picture-in-picture`: the picture-in-picture mode.
    pub const PICTURE_IN_PICTURE: Self = Self("picture-in-picture");
    /// `private-state-token-issuance`: issuing private state tokens.
    pub const PRIVATE_STATE_TOKEN_ISSUANCE: Self = Self("private-state-token-issuance");
    /// `private-state-token-redemption`: redeeming private state tokens.
    pub const PRIVATE_STATE_TOKEN_REDEMPTION: Self = Self("private-state-token-redemption");
    /// `publickey-credentials-create`: creating passkeys for this site.
    pub const PUBLICKEY_CREDENTIALS_CREATE: Self = Self("publickey-credentials-create");
    /// `publickey-credentials-get`: signing in with passkeys.
    pub const PUBLICKEY_CREDENTIALS_GET: Self = Self("publickey-credentials-get");
    /// `rewriter`: rewriting texts on the device.
    pub const REWRITER: Self = Self("rewriter");
    /// `run-ad-auction`: auctions for advertisements.
    pub const RUN_AD_AUCTION: Self = Self("run-ad-auction");
    /// `screen-wake-lock`: keeping the screen on.
    pub const SCREEN_WAKE_LOCK: Self = Self("screen-wake-lock");
    /// `serial`: access to serial ports.
    pub const SERIAL: Self = Self("serial");
    /// `smart-card`: access to smart cards.
    pub const SMART_CARD: Self = Self("smart-card");
    /// `speaker-selection`: choosing an audio output.
    pub const SPEAKER_SELECTION: Self = Self("speaker-selection");
    /// `storage-access`: cookies of third parties.
    pub const STORAGE_ACCESS: Self = Self("storage-access");
    /// `summarizer`: summarizing texts on the device.
    pub const SUMMARIZER: Self = Self("summarizer");
    /// `sync-script`: scripts that block the parser.
    pub const SYNC_SCRIPT: Self = Self("sync-script");
    /// `sync-xhr`: requests that block the script.
    pub const SYNC_XHR: Self = Self("sync-xhr");
    /// `translator`: translating texts on the device.
    pub const TRANSLATOR: Self = Self("translator");
    /// `unload`: handlers of `unload`.
    pub const UNLOAD: Self = Self("unload");
    /// `usb`: access to USB devices.
    pub const USB: Self = Self("usb");
    /// `vertical-scroll`: blocking vertical scrolling.
    pub const VERTICAL_SCROLL: Self = Self("vertical-scroll");
    /// `web-share`: sharing with other applications.
    pub const WEB_SHARE: Self = Self("web-share");
    /// `window-management`: windows on several screens.
    pub const WINDOW_MANAGEMENT: Self = Self("window-management");
    /// `writer`: writing texts on the device.
    pub const WRITER: Self = Self("writer");
    /// `xr-spatial-tracking`: tracking positions for WebXR.
    pub const XR_SPATIAL_TRACKING: Self = Self("xr-spatial-tracking");

    /// Returns the feature with this name, which this crate need not know.
    ///
    /// # Errors
    ///
    /// The name is not a key of RFC 9651 §3.1.2: lower-case letters and `*`, and after the first
    /// character also digits and `_-.`.
    pub fn custom(name: &'static str) -> Result<Self, InvalidHeader> {
        if is_key(name.as_bytes()) {
            return Ok(Self(name));
        }
        let reason =
            "not the name of a feature: a to z and *, and after the first also 0 to 9 and _ - .";
        Err(InvalidHeader::new("permissions-policy", name, reason).in_directive(name))
    }

    /// Returns the name of the feature, as the header has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
