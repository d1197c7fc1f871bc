/** The palettes: colours of gray values for the light and the dark theme. */

export type Palette = "colour" | "gray";

const STOPS: Record<Palette, Record<"dark" | "light", string[]>> = {
  gray: { dark: ["#0c0e13", "#f6f3ea"], light: ["#fbfaf6", "#15171d"] },
  colour: {
    dark: ["#0c0e13", "#1d1a3f", "#4a2366", "#8a2f6d", "#cc4a5c", "#f2884f", "#fbc770", "#fdf6d0"],
    light: ["#fbfaf6", "#e3ebe2", "#b4d6cb", "#73b2b2", "#3d849c", "#2d5684", "#292f62", "#14142c"],
  },
};

/** Most of speech lies above the middle, which gets more colours. */
const GAMMA = 1.6;

/** 256 colours as pixels of a canvas, the steps between the stops in order. */
export function lookup(palette: Palette, isDark: boolean): Uint32Array {
  const stops = STOPS[palette][isDark ? "dark" : "light"].map((hex) =>
    [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)),
  );
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let value = 0; value < 256; value++) {
    const place = (value / 255) ** GAMMA * (stops.length - 1);
    const left = Math.min(Math.floor(place), stops.length - 2);
    for (let i = 0; i < 3; i++) {
      bytes[4 * value + i] = stops[left][i] + (place - left) * (stops[left + 1][i] - stops[left][i]);
    }
    bytes[4 * value + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}
