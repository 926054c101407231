//! The sources with Metal's words, as far as a C++ compiler can read them: Metal's types, functions and attributes are
//! played by a header; its keywords are no names.

use crate::device::emulation::compiler;
use crate::device::source::{COMMON, PROGRAMS};

const STAND_IN: &str = r"
#define device
#define threadgroup
#define thread
#define constant const
#define half
#define vertex
#define fragment
#define INFINITY __builtin_inff()
typedef unsigned int uint;
typedef unsigned short ushort;
namespace metal {
struct uint3 { uint x, y, z; };
enum class mem_flags { mem_threadgroup = 1, mem_device = 2 };
inline mem_flags operator|(mem_flags a, mem_flags) { return a; }
void threadgroup_barrier(mem_flags);
float exp(float); float log(float); float sqrt(float); float floor(float); float fabs(float);
float fmax(float, float); float fma(float, float, float); float sinpi(float); float cospi(float);
uint mulhi(uint, uint); uint min(uint, uint);
float simd_shuffle_xor(float, ushort); uint simd_shuffle_xor(uint, ushort);
template <class T, class U> T as_type(U);
}
";

#[test]
fn sources_parse_with_the_words_of_metal() {
    let Some(compiler) = compiler() else {
        println!("no C++ compiler: Metal's words are not tested");
        return;
    };
    let folder = std::env::temp_dir().join(format!("halocast-metal-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("metal_stdlib"), STAND_IN).unwrap();
    for program in PROGRAMS {
        let source = folder.join(format!("{}.cc", program.name));
        std::fs::write(&source, [include_str!("../kernels/metal.h"), COMMON, program.source].join("\n"))
            .unwrap();
        let output = std::process::Command::new(&compiler)
            .args(["-std=c++14", "-fsyntax-only", "-fno-builtin", "-w", "-I"])
            .args([&folder, &source])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
