//! Layouts of published checkpoints that are not read here, told by the names of their tensors.

/// Why a checkpoint with such tensors is refused, and what to do instead; nothing where no other layout is known.
pub fn foreign_layout<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let layout = |name: &str| {
        let (first, rest) = name.split_once('.')?;
        Some(match (first, rest) {
            ("rwkv", rest) if rest.contains(".attention") => RWKV_PORT,
            ("model", rest) if rest.contains(".attn.x_proj.") || rest.ends_with(".attn.bonus") => FLA_RWKV,
            ("backbone", rest) if rest.ends_with(".mixer.x_proj.weight") => {
                "Mamba-1, which is none of the architectures here"
            }
            ("blocks", rest) if rest.ends_with(".att.time_mix_k") => {
                "RWKV-4 or RWKV-5, and RWKV-6 (x060) is implemented"
            }
            ("blocks", rest) if rest.ends_with(".att.x_r") => "RWKV-7, and RWKV-6 (x060) is implemented",
            _ => return None,
        })
    };
    names.find_map(layout)
}

/// RWKV's own port of RWKV-6 to transformers.
pub(super) const RWKV_PORT: &str = "RWKV's port to transformers, whose tensors have other names: take the authors' \
    .pth file of the same model, alone in a folder";

/// RWKV-6 as flash-linear-attention has it.
pub(super) const FLA_RWKV: &str = "flash-linear-attention's layout of RWKV-6, which names and arranges tensors \
    differently: take the authors' .pth file from which its convert_from_rwkv6.py made it, alone in a folder";
