#!/bin/sh
# Install what pip cannot: PortAudio for sound devices; for "card" a sound server without hardware too; for "bench" also
# opus-tools and codec2; for "quality" these two, AMR-WB and, unpacked for this user only, libopus 1.5 or later; for
# "test" all of these, a browser, a message broker and a reverse proxy.
# Usage: tools/install-system-packages.sh [demo|card|test|bench|quality]
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

has_enhancing_opus() {
    [ -e "$opus" ] || dpkg --compare-versions "$(dpkg-query -W -f '${Version}' libopus0 2>/dev/null)" ge 1.5 2>/dev/null
}

find_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -v security | head -n 1
}

# The package of Debian 13 runs on older systems, but installed it would change other programs there: only unpack it.
fetch_opus() {
    mirror=$(find_mirror)
    [ -n "$mirror" ] || { apt-get -qq update && mirror=$(find_mirror); }
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p lists/partial archives/partial "$(dirname "$opus")" || return 1
    echo "deb [signed-by=$keys] $mirror trixie main" >trixie.list
    cat >apt.conf <<END
APT::Sandbox::User "root";
Dir::Etc::sourcelist "$PWD/trixie.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$PWD/lists";
Dir::Cache "$PWD";
END
    apt-get -qq -c apt.conf update && apt-get -qq -c apt.conf download libopus0 && dpkg -x libopus0_*.deb . &&
        cp -L usr/lib/*/libopus.so.0 "$opus"
}

# The wheels of sounddevice for macOS and Windows bring PortAudio along.
[ "$(uname -s)" = Linux ] || exit 0

opus=${XDG_DATA_HOME:-$HOME/.local/share}/audio-avif/lib/libopus.so.0
if { [ "$purpose" = quality ] || [ "$purpose" = test ]; } && ! has_enhancing_opus; then
    echo "fetching a newer libopus into $opus"
    work=$(mktemp -d)
    (cd "$work" && fetch_opus) >/dev/null 2>&1 || echo "could not fetch it; audio-avif-quality leaves out Opus with LACE and NoLACE"
    rm -r "$work"
fi

missing=
if [ "$purpose" != quality ]; then
    has_library 'libportaudio\.so\.2' || missing="$missing libportaudio2"
fi
if [ "$purpose" != demo ] && [ "$purpose" != quality ]; then
    command -v pulseaudio >/dev/null 2>&1 || missing="$missing pulseaudio"
    has_pulse_plugin || missing="$missing libasound2-plugins"
fi
if [ "$purpose" = test ]; then
    command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || missing="$missing chromium"
    command -v nats-server >/dev/null 2>&1 || missing="$missing nats-server"
    PATH="$PATH:/sbin:/usr/sbin" command -v nginx >/dev/null 2>&1 || missing="$missing nginx-light"
fi
if [ "$purpose" = bench ] || [ "$purpose" = quality ] || [ "$purpose" = test ]; then
    command -v opusenc >/dev/null 2>&1 || missing="$missing opus-tools"
    command -v c2enc >/dev/null 2>&1 || missing="$missing codec2"
fi
if [ "$purpose" = quality ] || [ "$purpose" = test ]; then
    has_library 'libvo-amrwbenc\.so\.0' || missing="$missing libvo-amrwbenc0"
    has_library 'libopencore-amrwb\.so\.0' || missing="$missing libopencore-amrwb0"
fi
missing=${missing# }
lacking="sound devices"
[ "$purpose" = quality ] && lacking="other codecs"
[ -n "$missing" ] || exit 0

apt_install() {
    # shellcheck disable=SC2086  # one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing $missing"
    apt_install || { apt-get update -qq >/dev/null 2>&1 && apt_install; } && exit 0
    echo "could not install $missing; $lacking may not work until you run: apt-get update && apt-get install $missing"
elif command -v apt-get >/dev/null 2>&1; then
    echo "$lacking will not work until you run: sudo apt-get install $missing"
else
    echo "$lacking will not work until you install what Debian calls: $missing"
fi
exit 0
