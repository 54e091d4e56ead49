"""The small model that this project trains itself."""
