#!/bin/sh
# Installs into an empty prefix, then builds and runs tests/install/outside there, as a user would.
#   outside.sh pkg-config|cmake BUILD_DIRECTORY      the compiler is $CXX
set -eu
way=$1 build=$2
source=$(cd "$(dirname "$0")/outside" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

meson install -C "$build" --no-rebuild --quiet --destdir "$work/root"
config=$(find "$work/root" -name mcp.pc)
prefix=$(PKG_CONFIG_PATH=$(dirname "$config") pkg-config --variable=prefix mcp)
library=$(PKG_CONFIG_PATH=$(dirname "$config") pkg-config --variable=libdir mcp)

case $way in
  pkg-config)
    export PKG_CONFIG_PATH="$library/pkgconfig"
    # $CXX may be a wrapper with arguments ("ccache c++").
    # shellcheck disable=SC2046,SC2086
    $CXX -std=c++20 $(pkg-config --cflags mcp) "$source/main.cc" -o "$work/outside" $(pkg-config --libs mcp)
    ;;
  cmake)
    cmake -G Ninja -S "$source" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="${CXX##* }"
    cmake --build "$work/cmake"
    mv "$work/cmake/outside" "$work/outside"
    ;;
esac
LD_LIBRARY_PATH="$library" "$work/outside"
