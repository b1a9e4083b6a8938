"""The core inside ComfyUI. Modules here may be imported only where ComfyUI runs."""
