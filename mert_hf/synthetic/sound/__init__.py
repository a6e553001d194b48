"""How it sounds: oscillators, timbres, drums, rendering; sampled instruments by way of MIDI."""
