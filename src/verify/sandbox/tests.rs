//! The sandbox alone: what runs in it, and what is left of it.
