#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kafka_taos_fuzz::format_line(input));
