#!/bin/sh
# Install what pip cannot: PortAudio for sound devices; for "card" a sound server without hardware too; for "bench" also
# opus-tools and codec2; for "test" all of these, a browser and a message broker.
# Usage: tools/install-system-packages.sh [demo|card|test|bench]
# Never fails: without these the demo still writes its WAV file, and the device tests are skipped with the reason.

purpose=${1:-demo}

has_library() {
    # ldconfig lives in /sbin, which is not on everybody's path.
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q "$1"
}

has_pulse_plugin() {
    for plugin in /usr/lib/*-linux-*/alsa-lib/libasound_module_pcm_pulse.so \
        /usr/lib64/alsa-lib/libasound_module_pcm_pulse.so /usr/lib/alsa-lib/libasound_module_pcm_pulse.so; do
        [ -e "$plugin" ] && return 0
    done
    return 1
}

# The wheels of sounddevice for macOS and Windows bring PortAudio along.
[ "$(uname -s)" = Linux ] || exit 0

missing=
has_library 'libportaudio\.so\.2' || missing="$missing libportaudio2"
if [ "$purpose" != demo ]; then
    command -v pulseaudio >/dev/null 2>&1 || missing="$missing pulseaudio"
    has_pulse_plugin || missing="$missing libasound2-plugins"
fi
if [ "$purpose" = test ]; then
    command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || missing="$missing chromium"
    command -v nats-server >/dev/null 2>&1 || missing="$missing nats-server"
fi
if [ "$purpose" = bench ] || [ "$purpose" = test ]; then
    command -v opusenc >/dev/null 2>&1 || missing="$missing opus-tools"
    command -v c2enc >/dev/null 2>&1 || missing="$missing codec2"
fi
missing=${missing# }
[ -n "$missing" ] || exit 0

apt_install() {
    # shellcheck disable=SC2086  # one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing $missing"
    apt_install || { apt-get update -qq >/dev/null 2>&1 && apt_install; } && exit 0
    echo "could not install $missing; sound devices may not work until you run: apt-get update && apt-get install $missing"
elif command -v apt-get >/dev/null 2>&1; then
    echo "sound devices will not work until you run: sudo apt-get install $missing"
else
    echo "sound devices will not work until you install what Debian calls: $missing"
fi
exit 0
